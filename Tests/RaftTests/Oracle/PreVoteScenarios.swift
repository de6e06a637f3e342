// PreVoteScenarios.swift - our scenarios: who hears a leader helps nobody to replace it.

extension OwnScenario {
    static let asking = Self(
        "pre-votes and the check of the quorum together",
        """
        # Pre-votes and the check of the quorum together: who hears the leader helps nobody to
        # replace it, who has not heard of it for an election timeout does, and a leader alone
        # steps down.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 prevote=true checkquorum=true
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        # 3 asks first, and nobody answers: both others have heard of the leader just now.
        campaign 3
        ----

        stabilize 1 2 3
        ----
        > 3 handling Ready
          Ready MustSync=false:
          Lead:0 State:StatePreCandidate
          Messages:
          3->1 MsgPreVote Term:2 Log:1/11
          3->2 MsgPreVote Term:2 Log:1/11
        > 1 receiving messages
          3->1 MsgPreVote Term:2 Log:1/11
        > 2 receiving messages
          3->2 MsgPreVote Term:2 Log:1/11

        # 3 has lost sight of the leader, which does not mind: its next heartbeat finds 3 again.
        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Voter) Term:1 Lead:1
        3: StatePreCandidate (Voter) Term:1 Lead:0

        tick-heartbeat 1
        ----

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Voter) Term:1 Lead:1
        3: StateFollower (Voter) Term:1 Lead:1

        # Time passes at 2, too little for an election of its own. It gives 3 its pre-vote now,
        # though it knows the leader.
        set-randomized-election-timeout 2 timeout=5
        ----

        tick-election 2
        ----

        campaign 3
        ----

        process-ready 3
        ----
        Ready MustSync=false:
        Lead:0 State:StatePreCandidate
        Messages:
        3->1 MsgPreVote Term:2 Log:1/11
        3->2 MsgPreVote Term:2 Log:1/11

        deliver-msgs 1 2
        ----
        3->1 MsgPreVote Term:2 Log:1/11
        3->2 MsgPreVote Term:2 Log:1/11

        process-ready 2
        ----
        Ready MustSync=false:
        Messages:
        2->3 MsgPreVoteResp Term:2 Log:0/0

        deliver-msgs 3
        ----
        2->3 MsgPreVoteResp Term:2 Log:0/0

        process-ready 3
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:2 Vote:3 Commit:11
        Messages:
        3->1 MsgVote Term:2 Log:1/11
        3->2 MsgVote Term:2 Log:1/11

        # 1 hears of the election and takes no part, and of the new leader, whom it follows.
        deliver-msgs 1 2
        ----
        3->1 MsgVote Term:2 Log:1/11
        3->2 MsgVote Term:2 Log:1/11

        process-ready 1 2
        ----
        > 1 handling Ready
          <empty Ready>
        > 2 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:2 Vote:3 Commit:11
          Messages:
          2->3 MsgVoteResp Term:2 Log:0/0

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StateFollower (Voter) Term:2 Lead:3
        3: StateLeader (Voter) Term:2 Lead:3

        # A member whose log is behind gets no pre-vote, and is told so by who has not heard of
        # the leader for so long.
        log-level none
        ----

        propose 3 ahead
        ----

        process-ready 3
        ----

        deliver-msgs 1
        ----

        stabilize 1 3
        ----

        deliver-msgs drop=(2)
        ----

        log-level info
        ----

        set-randomized-election-timeout 1 timeout=5
        ----

        tick-election 1
        ----

        campaign 2
        ----

        process-ready 2
        ----
        Ready MustSync=false:
        Lead:0 State:StatePreCandidate
        Messages:
        2->1 MsgPreVote Term:3 Log:2/12
        2->3 MsgPreVote Term:3 Log:2/12

        deliver-msgs 1 drop=(3)
        ----
        2->1 MsgPreVote Term:3 Log:2/12
        dropped: 2->3 MsgPreVote Term:3 Log:2/12

        stabilize 1 2
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgPreVoteResp Term:2 Log:0/0 Rejected (Hint: 0)
        > 2 receiving messages
          1->2 MsgPreVoteResp Term:2 Log:0/0 Rejected (Hint: 0)

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StatePreCandidate (Voter) Term:2 Lead:0
        3: StateLeader (Voter) Term:2 Lead:3

        # The leader hears of nobody. It steps down after the second election timeout: in the
        # first it had been heard of.
        tick-election 3
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StatePreCandidate (Voter) Term:2 Lead:0
        3: StateLeader (Voter) Term:2 Lead:3

        tick-election 3
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StatePreCandidate (Voter) Term:2 Lead:0
        3: StateFollower (Voter) Term:2 Lead:0

        propose 3 nobody
        ----
        raft proposal dropped

        # Nothing of this was a new term.
        log-level none
        ----

        stabilize
        ----

        log-level info
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StateFollower (Voter) Term:2 Lead:3
        3: StateFollower (Voter) Term:2 Lead:0
        """)

    static let forgetting = Self(
        "forgetting the leader",
        """
        # A follower forgets its leader: it helps to elect another one, though it has heard of the
        # leader just now. A word of the leader brings it back.
        log-level none
        ----

        add-nodes 3 voters=(1,2) learners=(3) index=10 checkquorum=true prevote=true
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        # Nothing happens at a leader.
        forget-leader 1
        ----

        process-ready 1
        ----
        <empty Ready>

        forget-leader 2
        ----

        forget-leader 3
        ----

        process-ready 2 3
        ----
        > 2 handling Ready
          Ready MustSync=false:
          Lead:0 State:StateFollower
        > 3 handling Ready
          Ready MustSync=false:
          Lead:0 State:StateFollower

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Voter) Term:1 Lead:0
        3: StateFollower (Non-Voter) Term:1 Lead:0

        propose 2 nobody
        ----
        raft proposal dropped

        # It is forgotten already.
        forget-leader 2
        ----

        process-ready 2
        ----
        <empty Ready>

        tick-heartbeat 1
        ----

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Voter) Term:1 Lead:1
        3: StateFollower (Non-Voter) Term:1 Lead:1

        # The leader itself hears no candidate: it has been heard of.
        forget-leader 2
        ----

        campaign 2
        ----

        forget-leader 2
        ----

        process-ready 2
        ----
        Ready MustSync=false:
        Lead:0 State:StatePreCandidate
        Messages:
        2->1 MsgPreVote Term:2 Log:1/11

        deliver-msgs 1
        ----
        2->1 MsgPreVote Term:2 Log:1/11

        process-ready 1
        ----
        <empty Ready>

        # Two followers that have forgotten it do without it.
        log-level none
        ----

        add-nodes 3 voters=(4,5,6) index=10 checkquorum=true prevote=true
        ----

        campaign 4
        ----

        stabilize 4 5 6
        ----

        log-level info
        ----

        forget-leader 5
        ----

        campaign 6
        ----

        stabilize 5 6 log-level=none
        ----

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StatePreCandidate (Voter) Term:1 Lead:0
        3: StateFollower (Non-Voter) Term:1 Lead:1
        4: StateLeader (Voter) Term:1 Lead:4
        5: StateFollower (Voter) Term:2 Lead:6
        6: StateLeader (Voter) Term:2 Lead:6

        # Where reads trust the leader's clock nobody forgets it.
        log-level none
        ----

        add-nodes 2 voters=(7,8) index=10 checkquorum=true read-only=lease-based
        ----

        campaign 7
        ----

        stabilize 7 8
        ----

        log-level info
        ----

        forget-leader 8
        ----

        process-ready 8
        ----
        <empty Ready>
        """)
}
