// RuleScenarios.swift - our scenarios: the pure rules of changes and of majorities.

extension OwnScenario {
    static let refused = Self(
        "changes that are refused",
        """
        # Joint configurations are entered and left in order, and never without a voter. A change
        # that is refused changes nothing.
        leave-joint
        ----
        can't leave a non-joint config

        enter-joint
        ----
        can't make a zero-voter config joint

        enter-joint
        v1
        ----
        can't make a zero-voter config joint

        simple
        ----
        removed all voters

        simple
        v1 l4
        ----
        voters=(1) learners=(4)
        1: StateProbe match=0 next=4
        4: StateProbe match=0 next=4 learner

        leave-joint
        ----
        can't leave a non-joint config

        enter-joint
        r1
        ----
        removed all voters

        enter-joint
        l1
        ----
        removed all voters

        enter-joint
        ----
        voters=(1)&&(1) learners=(4)
        1: StateProbe match=0 next=4
        4: StateProbe match=0 next=4 learner

        simple
        l2
        ----
        can't apply simple config change in joint config

        enter-joint
        v2
        ----
        config is already joint

        leave-joint
        v2
        ----
        this command takes no input

        leave-joint
        ----
        voters=(1) learners=(4)
        1: StateProbe match=0 next=4
        4: StateProbe match=0 next=4 learner

        # A voter that goes keeps its progress until the joint configuration is left, and one that
        # goes and comes again within one change keeps it altogether.
        enter-joint autoleave=true
        r1 v2 l1 v4 l3 r3
        ----
        voters=(2 4)&&(1) learners_next=(1) autoleave
        1: StateProbe match=0 next=4
        2: StateProbe match=0 next=13
        4: StateProbe match=0 next=4

        leave-joint
        ----
        voters=(2 4) learners=(1)
        1: StateProbe match=0 next=4 learner
        2: StateProbe match=0 next=13
        4: StateProbe match=0 next=4

        enter-joint
        r2 v2 l4 r4 v4
        ----
        voters=(2 4)&&(2 4) learners=(1)
        1: StateProbe match=0 next=4 learner
        2: StateProbe match=0 next=13
        4: StateProbe match=0 next=4

        leave-joint
        ----
        voters=(2 4) learners=(1)
        1: StateProbe match=0 next=4 learner
        2: StateProbe match=0 next=13
        4: StateProbe match=0 next=4

        simple
        r4 l4
        ----
        voters=(2) learners=(1 4)
        1: StateProbe match=0 next=4 learner
        2: StateProbe match=0 next=13
        4: StateProbe match=0 next=17 learner

        simple
        x1
        ----
        unknown input: x1
        """)

    static let majorities = Self(
        "majorities and joint majorities",
        """
        # Voters are given in any order; one that is in both halves is given once.
        committed cfg=(3,1) cfgj=(1,5) idx=(7,_,9)
        ----
               idx
        ?        0    (id=1)
        x>       7    (id=3)
        xx>      9    (id=5)
        0

        committed cfg=(2,4,6,8) idx=(5,5,6,_)
        ----
                idx
        x>        5    (id=2)
        x>        5    (id=4)
        xxx>      6    (id=6)
        ?         0    (id=8)
        5

        committed cfg=(2,4) cfgj=(4,2) idx=(100000,99999)
        ----
              idx
        x>  100000    (id=2)
        >   99999    (id=4)
        99999

        committed cfgj=zero
        ----
        <empty majority quorum>∞

        vote cfg=(1,2,3,4) votes=(y,y,n,_)
        ----
        VotePending

        vote cfg=(1,2,3,4) votes=(n,n,y,y)
        ----
        VoteLost

        vote cfg=(1,2,3) cfgj=(3) votes=(y,y,n)
        ----
        VoteLost

        vote cfg=(9) cfgj=(9,8,7) votes=(y,_,y)
        ----
        VoteWon
        """)
}
