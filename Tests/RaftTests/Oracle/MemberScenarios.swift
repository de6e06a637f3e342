// MemberScenarios.swift - our scenarios: single changes of members, and learners.

extension OwnScenario {
    static let single = Self(
        "a learner comes, is made a voter, and goes",
        """
        # Single changes in the older entries: a learner comes, is made a voter, and goes.
        log-level none
        ----

        add-nodes 1 voters=(1) index=10
        ----

        add-nodes 1
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        propose-conf-change 1 v1=true
        l2
        ----

        propose-conf-change 1 v1=true
        v2 v3
        ----
        v1 conf change can only have one operation and no transition

        propose-conf-change 1 v1=true transition=explicit
        v2
        ----
        v1 conf change can only have one operation and no transition

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryConfChange l2

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:12
        CommittedEntries:
        1/12 EntryConfChange l2

        status 1
        ----
        1: StateReplicate match=12 next=13
        2: StateProbe match=0 next=12 learner paused

        # Not before the entry is applied is another change accepted.
        propose-conf-change 1 v1=true
        v2
        ----

        propose-conf-change 1 v1=true
        v3
        ----

        stabilize
        ----
        > 1 handling Ready
          Ready MustSync=true:
          Entries:
          1/13 EntryConfChange v2
          1/14 EntryNormal ""
          Messages:
          1->2 MsgApp Term:1 Log:1/11 Commit:12 Entries:[1/12 EntryConfChange l2]
        > 2 receiving messages
          1->2 MsgApp Term:1 Log:1/11 Commit:12 Entries:[1/12 EntryConfChange l2]
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:14
          CommittedEntries:
          1/13 EntryConfChange v2
          1/14 EntryNormal ""
        > 2 handling Ready
          Ready MustSync=true:
          Lead:1 State:StateFollower
          HardState Term:1 Commit:0
          Messages:
          2->1 MsgAppResp Term:1 Log:0/11 Rejected (Hint: 0)
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/11 Rejected (Hint: 0)
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgSnap Term:1 Log:0/0
            Snapshot: Index:14 Term:1 ConfState:Voters:[1 2] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 2 receiving messages
          1->2 MsgSnap Term:1 Log:0/0
            Snapshot: Index:14 Term:1 ConfState:Voters:[1 2] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 2 handling Ready
          Ready MustSync=false:
          HardState Term:1 Commit:14
          Snapshot Index:14 Term:1 ConfState:Voters:[1 2] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
          Messages:
          2->1 MsgAppResp Term:1 Log:0/14
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/14

        status 1
        ----
        1: StateReplicate match=14 next=15
        2: StateReplicate match=14 next=15

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Voter) Term:1 Lead:1

        # The voter is needed now. An update changes nothing.
        propose-conf-change 1 v1=true
        u2
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/15 EntryConfChange u2
        Messages:
        1->2 MsgApp Term:1 Log:1/14 Commit:14 Entries:[1/15 EntryConfChange u2]

        process-ready 1
        ----
        <empty Ready>

        stabilize log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=15 next=16

        propose-conf-change 1 v1=true
        r2
        ----

        stabilize
        ----
        > 1 handling Ready
          Ready MustSync=true:
          Entries:
          1/16 EntryConfChange r2
          Messages:
          1->2 MsgApp Term:1 Log:1/15 Commit:15 Entries:[1/16 EntryConfChange r2]
        > 2 receiving messages
          1->2 MsgApp Term:1 Log:1/15 Commit:15 Entries:[1/16 EntryConfChange r2]
        > 2 handling Ready
          Ready MustSync=true:
          Entries:
          1/16 EntryConfChange r2
          Messages:
          2->1 MsgAppResp Term:1 Log:0/16
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/16
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:16
          CommittedEntries:
          1/16 EntryConfChange r2
          Messages:
          1->2 MsgApp Term:1 Log:1/16 Commit:16
        > 2 receiving messages
          1->2 MsgApp Term:1 Log:1/16 Commit:16
        > 2 handling Ready
          Ready MustSync=false:
          HardState Term:1 Commit:16
          CommittedEntries:
          1/16 EntryConfChange r2
          Messages:
          2->1 MsgAppResp Term:1 Log:0/16
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/16
          raft: cannot step as peer not found

        status 1
        ----
        1: StateReplicate match=16 next=17

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Non-Voter) Term:1 Lead:1

        # The leader alone commits what it stores.
        propose 1 alone
        ----

        stabilize
        ----
        > 1 handling Ready
          Ready MustSync=true:
          Entries:
          1/17 EntryNormal "alone"
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:17
          CommittedEntries:
          1/17 EntryNormal "alone"
        """)

    static let learners = Self(
        "learners take the log and do not count",
        """
        # Learners take the log and vote when asked, and neither stand nor count.
        log-level none
        ----

        add-nodes 3 voters=(1,2) learners=(3) index=10
        ----

        log-level info
        ----

        campaign 3
        ----

        set-randomized-election-timeout 3 timeout=3
        ----

        tick-election 3
        ----

        process-ready 3
        ----
        <empty Ready>

        campaign 1
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:1 Vote:1 Commit:10
        Messages:
        1->2 MsgVote Term:1 Log:1/10

        stabilize log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=11 next=12
        2: StateReplicate match=11 next=12
        3: StateReplicate match=11 next=12 learner

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Voter) Term:1 Lead:1
        3: StateFollower (Non-Voter) Term:1 Lead:1

        # 1 and 3 are no majority.
        propose 1 counted
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "counted"
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "counted"]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "counted"]

        stabilize 1 3
        ----
        > 3 receiving messages
          1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "counted"]
        > 3 handling Ready
          Ready MustSync=true:
          Entries:
          1/12 EntryNormal "counted"
          Messages:
          3->1 MsgAppResp Term:1 Log:0/12
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/12

        status 1
        ----
        1: StateReplicate match=12 next=13
        2: StateReplicate match=11 next=13 inflight=1
        3: StateReplicate match=12 next=13 learner

        stabilize log-level=none
        ----

        # A voter becomes a learner and the other way round. Two voters change: that goes through
        # a joint configuration.
        propose-conf-change 1
        l2 v3
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/13 EntryConfChangeV2 l2 v3
        Messages:
        1->2 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryConfChangeV2 l2 v3]
        1->3 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryConfChangeV2 l2 v3]

        stabilize 2 3 log-level=none
        ----

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/13

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:13
        CommittedEntries:
        1/13 EntryConfChangeV2 l2 v3
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:13
        1->3 MsgApp Term:1 Log:1/13 Commit:13

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=15 inflight=1
        3: StateReplicate match=13 next=15 inflight=1

        stabilize log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=14 next=15
        2: StateReplicate match=14 next=15 learner
        3: StateReplicate match=14 next=15

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Non-Voter) Term:1 Lead:1
        3: StateFollower (Voter) Term:1 Lead:1

        transfer-leadership from=1 to=2
        ----

        process-ready 1
        ----
        <empty Ready>

        # The leader as a learner goes on without counting itself.
        propose-conf-change 1 v1=true
        l1
        ----

        stabilize log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=15 next=16 learner
        2: StateReplicate match=15 next=16 learner
        3: StateReplicate match=15 next=16

        raft-state
        ----
        1: StateLeader (Non-Voter) Term:1 Lead:1
        2: StateFollower (Non-Voter) Term:1 Lead:1
        3: StateFollower (Voter) Term:1 Lead:1

        propose 1 by_a_learner
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/16 EntryNormal "by_a_learner"
        Messages:
        1->2 MsgApp Term:1 Log:1/15 Commit:15 Entries:[1/16 EntryNormal "by_a_learner"]
        1->3 MsgApp Term:1 Log:1/15 Commit:15 Entries:[1/16 EntryNormal "by_a_learner"]

        stabilize 2 log-level=none
        ----

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/16

        process-ready 1
        ----
        <empty Ready>

        stabilize 3 log-level=none
        ----

        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:0/16

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:16
        CommittedEntries:
        1/16 EntryNormal "by_a_learner"
        Messages:
        1->2 MsgApp Term:1 Log:1/16 Commit:16
        1->3 MsgApp Term:1 Log:1/16 Commit:16
        """)
}
