// JointScenarios.swift - our scenarios: several changes of members at once.

extension OwnScenario {
    static let explicit = Self(
        "five changes, left on request",
        """
        # Several changes at once, left on request: 1 goes, 2 becomes a learner, 4 and 5 come as
        # voters, 6 as a learner.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        add-nodes 3
        ----

        log-level info
        ----

        propose-conf-change 1 transition=explicit
        r1 l2 v4 v5 l6
        ----

        # A second change is refused while the first is not applied: an empty entry takes its
        # place.
        propose-conf-change 1
        v7
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryConfChangeV2 r1 l2 v4 v5 l6
        1/13 EntryNormal ""
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryConfChangeV2 r1 l2 v4 v5 l6]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryConfChangeV2 r1 l2 v4 v5 l6]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal ""]
        1->3 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal ""]

        stabilize 2 3 log-level=none
        ----

        stabilize 1
        ----
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/12
          2->1 MsgAppResp Term:1 Log:0/13
          3->1 MsgAppResp Term:1 Log:0/12
          3->1 MsgAppResp Term:1 Log:0/13
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:13
          CommittedEntries:
          1/12 EntryConfChangeV2 r1 l2 v4 v5 l6
          1/13 EntryNormal ""
          Messages:
          1->2 MsgApp Term:1 Log:1/13 Commit:12
          1->3 MsgApp Term:1 Log:1/13 Commit:12
          1->2 MsgApp Term:1 Log:1/13 Commit:13
          1->3 MsgApp Term:1 Log:1/13 Commit:13
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->4 MsgApp Term:1 Log:1/12 Commit:13 Entries:[1/13 EntryNormal ""]
          1->5 MsgApp Term:1 Log:1/12 Commit:13 Entries:[1/13 EntryNormal ""]
          1->6 MsgApp Term:1 Log:1/12 Commit:13 Entries:[1/13 EntryNormal ""]

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateReplicate match=13 next=14
        4: StateProbe match=0 next=13 paused
        5: StateProbe match=0 next=13 paused
        6: StateProbe match=0 next=13 learner paused

        raft-state
        ----
        1: StateLeader (Voter) Term:1 Lead:1
        2: StateFollower (Voter) Term:1 Lead:1
        3: StateFollower (Voter) Term:1 Lead:1
        4: StateFollower (Non-Voter) Term:0 Lead:0
        5: StateFollower (Non-Voter) Term:0 Lead:0
        6: StateFollower (Non-Voter) Term:0 Lead:0

        # Both majorities are needed: of 3, 4, 5 and of 1, 2, 3.
        propose 1 both
        ----

        stabilize 1 2 log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=14 next=15
        2: StateReplicate match=14 next=15
        3: StateReplicate match=13 next=15 inflight=1
        4: StateProbe match=0 next=13 paused
        5: StateProbe match=0 next=13 paused
        6: StateProbe match=0 next=13 learner paused

        # 4 is caught up by a snapshot. That makes 1, 2 of the one and 4 of the other half: not
        # enough.
        stabilize 1 4
        ----
        > 4 receiving messages
          1->4 MsgApp Term:1 Log:1/12 Commit:13 Entries:[1/13 EntryNormal ""]
        > 4 handling Ready
          Ready MustSync=true:
          Lead:1 State:StateFollower
          HardState Term:1 Commit:0
          Messages:
          4->1 MsgAppResp Term:1 Log:0/12 Rejected (Hint: 0)
        > 1 receiving messages
          4->1 MsgAppResp Term:1 Log:0/12 Rejected (Hint: 0)
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->4 MsgSnap Term:1 Log:0/0
            Snapshot: Index:13 Term:1 ConfState:Voters:[3 4 5] VotersOutgoing:[1 2 3] Learners:[6] \
        LearnersNext:[2] AutoLeave:false
        > 4 receiving messages
          1->4 MsgSnap Term:1 Log:0/0
            Snapshot: Index:13 Term:1 ConfState:Voters:[3 4 5] VotersOutgoing:[1 2 3] Learners:[6] \
        LearnersNext:[2] AutoLeave:false
        > 4 handling Ready
          Ready MustSync=false:
          HardState Term:1 Commit:13
          Snapshot Index:13 Term:1 ConfState:Voters:[3 4 5] VotersOutgoing:[1 2 3] Learners:[6] \
        LearnersNext:[2] AutoLeave:false
          Messages:
          4->1 MsgAppResp Term:1 Log:0/13
        > 1 receiving messages
          4->1 MsgAppResp Term:1 Log:0/13
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->4 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryNormal "both"]
        > 4 receiving messages
          1->4 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryNormal "both"]
        > 4 handling Ready
          Ready MustSync=true:
          Entries:
          1/14 EntryNormal "both"
          Messages:
          4->1 MsgAppResp Term:1 Log:0/14
        > 1 receiving messages
          4->1 MsgAppResp Term:1 Log:0/14

        status 1
        ----
        1: StateReplicate match=14 next=15
        2: StateReplicate match=14 next=15
        3: StateReplicate match=13 next=15 inflight=1
        4: StateReplicate match=14 next=15
        5: StateProbe match=0 next=13 paused
        6: StateProbe match=0 next=13 learner paused

        stabilize 3 log-level=none
        ----

        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/14

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:14
        CommittedEntries:
        1/14 EntryNormal "both"
        Messages:
        1->2 MsgApp Term:1 Log:1/14 Commit:14
        1->3 MsgApp Term:1 Log:1/14 Commit:14
        1->4 MsgApp Term:1 Log:1/14 Commit:14

        # The joint configuration is not left by itself, and nothing but leaving it is accepted.
        propose-conf-change 1
        v7
        ----

        propose-conf-change 1
        ----

        stabilize log-level=none
        ----

        raft-log 1
        ----
        1/11 EntryNormal ""
        1/12 EntryConfChangeV2 r1 l2 v4 v5 l6
        1/13 EntryNormal ""
        1/14 EntryNormal "both"
        1/15 EntryNormal ""
        1/16 EntryConfChangeV2

        # 1 has left. It goes on as leader, as it was not told to step down, but takes no
        # proposals.
        raft-state
        ----
        1: StateLeader (Non-Voter) Term:1 Lead:1
        2: StateFollower (Non-Voter) Term:1 Lead:1
        3: StateFollower (Voter) Term:1 Lead:1
        4: StateFollower (Voter) Term:1 Lead:1
        5: StateFollower (Voter) Term:1 Lead:1
        6: StateFollower (Non-Voter) Term:1 Lead:1

        status 1
        ----
        2: StateReplicate match=16 next=17 learner
        3: StateReplicate match=16 next=17
        4: StateReplicate match=16 next=17
        5: StateReplicate match=16 next=17
        6: StateReplicate match=16 next=17 learner

        propose 1 refused
        ----
        raft proposal dropped

        campaign 2
        ----

        campaign 6
        ----

        process-ready 2
        ----
        <empty Ready>

        process-ready 6
        ----
        <empty Ready>

        campaign 4
        ----

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateLeader (Non-Voter) Term:1 Lead:1
        2: StateFollower (Non-Voter) Term:2 Lead:4
        3: StateFollower (Voter) Term:2 Lead:4
        4: StateLeader (Voter) Term:2 Lead:4
        5: StateFollower (Voter) Term:2 Lead:4
        6: StateFollower (Non-Voter) Term:2 Lead:4

        status 4
        ----
        2: StateReplicate match=17 next=18 learner
        3: StateReplicate match=17 next=18
        4: StateReplicate match=17 next=18
        5: StateReplicate match=17 next=18
        6: StateReplicate match=17 next=18 learner
        """)

    static let implicit = Self(
        "a leader that removes itself and steps down",
        """
        # One change through a joint configuration that is left by itself, and one that removes
        # the leader, which steps down when it has applied the last of it.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 step-down-on-removal=true
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        propose-conf-change 1 transition=implicit
        r1
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryConfChangeV2 r1
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryConfChangeV2 r1]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryConfChangeV2 r1]

        stabilize 2 log-level=none
        ----

        stabilize 1
        ----
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/12
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:12
          CommittedEntries:
          1/12 EntryConfChangeV2 r1
          Messages:
          1->2 MsgApp Term:1 Log:1/12 Commit:12
          1->3 MsgApp Term:1 Log:1/12 Commit:12
        > 1 handling Ready
          Ready MustSync=true:
          Entries:
          1/13 EntryConfChangeV2
          Messages:
          1->2 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryConfChangeV2]
          1->3 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryConfChangeV2]

        stabilize 2 3 log-level=none
        ----

        stabilize 1
        ----
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/12
          2->1 MsgAppResp Term:1 Log:0/13
          3->1 MsgAppResp Term:1 Log:0/12
          3->1 MsgAppResp Term:1 Log:0/12
          3->1 MsgAppResp Term:1 Log:0/13
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:13
          CommittedEntries:
          1/13 EntryConfChangeV2
          Messages:
          1->2 MsgApp Term:1 Log:1/13 Commit:13
          1->3 MsgApp Term:1 Log:1/13 Commit:13
        > 1 handling Ready
          Ready MustSync=false:
          Lead:0 State:StateFollower

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateFollower (Non-Voter) Term:1 Lead:0
        2: StateFollower (Voter) Term:1 Lead:1
        3: StateFollower (Voter) Term:1 Lead:1

        propose 1 nobody
        ----
        raft proposal dropped

        # A change without any member wants to leave a joint configuration, and there is none.
        campaign 2
        ----

        stabilize log-level=none
        ----

        propose-conf-change 2 transition=implicit
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Entries:
        2/15 EntryNormal ""
        Messages:
        2->3 MsgApp Term:2 Log:2/14 Commit:14 Entries:[2/15 EntryNormal ""]

        propose-conf-change 2 transition=implicit
        u3
        ----

        stabilize 2 3 log-level=none
        ----

        raft-log 2
        ----
        1/11 EntryNormal ""
        1/12 EntryConfChangeV2 r1
        1/13 EntryConfChangeV2
        2/14 EntryNormal ""
        2/15 EntryNormal ""
        2/16 EntryConfChangeV2 u3
        2/17 EntryConfChangeV2

        status 2
        ----
        2: StateReplicate match=17 next=18
        3: StateReplicate match=17 next=18
        """)
}
