// LeavingScenarios.swift - our scenarios: members that leave, and the end of joint configurations.

extension OwnScenario {
    static let leaving = Self(
        "leaving while the leadership is handed over",
        """
        # A joint configuration that leaves by itself cannot do so while the leadership is handed
        # over. The next entry that is applied tries again.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        propose-conf-change 1 transition=implicit
        l3
        ----

        process-ready 1
        ----

        deliver-msgs 2
        ----

        process-ready 2
        ----

        log-level info
        ----

        transfer-leadership from=1 to=3
        ----

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/12

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:12
        CommittedEntries:
        1/12 EntryConfChangeV2 l3
        Messages:
        1->3 MsgApp Term:1 Log:1/12 Commit:11
        1->2 MsgApp Term:1 Log:1/12 Commit:12
        1->3 MsgApp Term:1 Log:1/12 Commit:12

        process-ready 1
        ----
        <empty Ready>

        # The hand-over ends without success. The joint configuration is still in force.
        deliver-msgs drop=(3)
        ----
        dropped: 1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryConfChangeV2 l3]
        dropped: 1->3 MsgApp Term:1 Log:1/12 Commit:11
        dropped: 1->3 MsgApp Term:1 Log:1/12 Commit:12

        tick-election 1
        ----

        stabilize 1 2 log-level=none
        ----

        propose 1 again
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/13 EntryNormal "again"
        Messages:
        1->2 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryNormal "again"]
        1->3 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryNormal "again"]

        stabilize 2 log-level=none
        ----

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/13

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:13
        CommittedEntries:
        1/13 EntryNormal "again"
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:13
        1->3 MsgApp Term:1 Log:1/13 Commit:13

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/14 EntryConfChangeV2
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryConfChangeV2]
        1->3 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryConfChangeV2]

        stabilize 1 2 log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=14 next=15
        2: StateReplicate match=14 next=15
        3: StateReplicate match=11 next=15 learner inflight=3

        # A member that is removed does not get the leadership any more: the hand-over ends at
        # once.
        log-level none
        ----

        stabilize
        ----

        propose-conf-change 1
        r3
        ----

        stabilize 1 2
        ----

        propose-conf-change 1
        v3
        ----

        process-ready 1
        ----

        stabilize 1 2
        ----

        propose-conf-change 1
        r3
        ----

        process-ready 1
        ----

        stabilize 2
        ----

        log-level info
        ----

        transfer-leadership from=1 to=3
        ----

        propose 1 refused
        ----
        raft proposal dropped

        stabilize 1
        ----
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/17
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:17
          CommittedEntries:
          1/17 EntryConfChangeV2 r3
          Messages:
          1->2 MsgApp Term:1 Log:1/17 Commit:17

        propose 1 taken
        ----
        """)

    static let newLeader = Self(
        "a new leader that has not applied all of its log",
        """
        # A new leader does not know what of its log is committed. It takes no change of members,
        # and leaves no joint configuration by itself, before all that is applied.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 max-committed-size-per-ready=1
        ----

        campaign 1
        ----

        stabilize
        ----

        propose-conf-change 1 transition=implicit
        u3
        ----

        propose 1 x
        ----

        propose 1 y
        ----

        propose 1 z
        ----

        process-ready 1
        ----

        stabilize 2
        ----

        deliver-msgs 1
        ----

        process-ready 1
        ----

        process-ready 1
        ----

        deliver-msgs 2 drop=(3)
        ----

        log-level info
        ----

        # 2 knows that all but the last is committed, and applies one after the other.
        process-ready 2
        ----
        Ready MustSync=true:
        HardState Term:1 Vote:1 Commit:15
        Entries:
        1/16 EntryConfChangeV2
        CommittedEntries:
        1/12 EntryConfChangeV2 u3
        Messages:
        2->1 MsgAppResp Term:1 Log:0/15
        2->1 MsgAppResp Term:1 Log:0/15
        2->1 MsgAppResp Term:1 Log:0/15
        2->1 MsgAppResp Term:1 Log:0/15
        2->1 MsgAppResp Term:1 Log:0/16

        campaign 2
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:2 Vote:2 Commit:15
        CommittedEntries:
        1/13 EntryNormal "x"
        Messages:
        2->1 MsgVote Term:2 Log:1/16
        2->3 MsgVote Term:2 Log:1/16

        stabilize 3
        ----
        > 3 receiving messages
          2->3 MsgVote Term:2 Log:1/16
        > 3 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:2 Vote:2 Commit:11
          Messages:
          3->2 MsgVoteResp Term:2 Log:0/0

        deliver-msgs 2 drop=(1)
        ----
        3->2 MsgVoteResp Term:2 Log:0/0
        dropped: 2->1 MsgAppResp Term:1 Log:0/15
        dropped: 2->1 MsgAppResp Term:1 Log:0/15
        dropped: 2->1 MsgAppResp Term:1 Log:0/15
        dropped: 2->1 MsgAppResp Term:1 Log:0/15
        dropped: 2->1 MsgAppResp Term:1 Log:0/16
        dropped: 2->1 MsgVote Term:2 Log:1/16

        process-ready 2
        ----
        Ready MustSync=true:
        Lead:2 State:StateLeader
        Entries:
        2/17 EntryNormal ""
        CommittedEntries:
        1/14 EntryNormal "y"
        Messages:
        2->1 MsgApp Term:2 Log:1/16 Commit:15 Entries:[2/17 EntryNormal ""]
        2->3 MsgApp Term:2 Log:1/16 Commit:15 Entries:[2/17 EntryNormal ""]

        propose-conf-change 2
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Entries:
        2/18 EntryNormal ""
        CommittedEntries:
        1/15 EntryNormal "z"

        stabilize 2 3 log-level=none
        ----

        raft-log 2
        ----
        1/11 EntryNormal ""
        1/12 EntryConfChangeV2 u3
        1/13 EntryNormal "x"
        1/14 EntryNormal "y"
        1/15 EntryNormal "z"
        1/16 EntryConfChangeV2
        2/17 EntryNormal ""
        2/18 EntryNormal ""

        propose-conf-change 2
        l1
        ----

        stabilize 2 3 log-level=none
        ----

        status 2
        ----
        1: StateProbe match=0 next=17 learner paused inactive
        2: StateReplicate match=19 next=20
        3: StateReplicate match=19 next=20
        """)

    static let fewer = Self(
        "a removal that commits what stands behind it",
        """
        # The change that removes a voter can commit what stands behind it: the voter has only
        # ever answered the change itself.
        log-level none
        ----

        add-nodes 2 voters=(1,2) index=10
        ----

        campaign 1
        ----

        stabilize 1 2
        ----

        propose-conf-change 1
        r2
        ----

        process-ready 1
        ----

        stabilize 2
        ----

        propose 1 one
        ----

        propose 1 two
        ----

        process-ready 1
        ----

        deliver-msgs drop=(2)
        ----

        deliver-msgs 1
        ----

        log-level info
        ----

        stabilize 1
        ----
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:12
          CommittedEntries:
          1/12 EntryConfChangeV2 r2
          Messages:
          1->2 MsgApp Term:1 Log:1/14 Commit:12
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:14
          CommittedEntries:
          1/13 EntryNormal "one"
          1/14 EntryNormal "two"

        status 1
        ----
        1: StateReplicate match=14 next=15
        """)
}
