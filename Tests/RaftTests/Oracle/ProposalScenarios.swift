// ProposalScenarios.swift - our scenarios: who takes proposals, and how a commit index spreads.

extension OwnScenario {
    static let forwarding = Self(
        "proposals at followers and candidates",
        """
        # A follower hands proposals on to its leader; who knows no leader drops them.
        add-nodes 3 voters=(1,2,3) index=10
        ----

        propose 2 early
        ----
        raft proposal dropped

        campaign 1
        ----

        propose 1 candidate
        ----
        raft proposal dropped

        stabilize log-level=none
        ----

        propose 2 by_way_of_2
        ----

        propose-conf-change 3 v1=true
        l4
        ----

        process-ready 2
        ----
        Ready MustSync=false:
        Messages:
        2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "by_way_of_2"]

        process-ready 3
        ----
        Ready MustSync=false:
        Messages:
        3->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryConfChange l4]

        deliver-msgs 1
        ----
        2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "by_way_of_2"]
        3->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryConfChange l4]

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "by_way_of_2"
        1/13 EntryConfChange l4
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "by_way_of_2"]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "by_way_of_2"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryConfChange l4]
        1->3 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryConfChange l4]

        stabilize log-level=none
        ----

        raft-log 3
        ----
        1/11 EntryNormal ""
        1/12 EntryNormal "by_way_of_2"
        1/13 EntryConfChange l4

        # 2 believes in leader 1 while 1 believes in leader 3: the proposal goes on, in the name
        # of who has sent it first.
        campaign 3
        ----

        stabilize 3 log-level=none
        ----

        deliver-msgs 1 type=MsgVote
        ----
        3->1 MsgVote Term:2 Log:1/13

        stabilize 1 3 log-level=none
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StateFollower (Voter) Term:1 Lead:1
        3: StateLeader (Voter) Term:2 Lead:3

        propose 2 late
        ----

        process-ready 2
        ----
        Ready MustSync=false:
        Messages:
        2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "late"]

        deliver-msgs 1
        ----
        2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "late"]

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        2->3 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "late"]

        deliver-msgs 3
        ----
        2->3 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "late"]

        process-ready 3
        ----
        Ready MustSync=true:
        Entries:
        2/15 EntryNormal "late"
        Messages:
        3->1 MsgApp Term:2 Log:2/14 Commit:14 Entries:[2/15 EntryNormal "late"]
        """)

    static let commits = Self(
        "news of a commit that are lost and repeated",
        """
        # The leader tells a commit index by appends and by heartbeats, and not more often than it
        # can help the follower.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        propose 1 one
        ----

        propose 1 two
        ----

        process-ready 1
        ----

        log-level info
        ----

        deliver-msgs 2
        ----
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "one"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "two"]

        process-ready 2
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "one"
        1/13 EntryNormal "two"
        Messages:
        2->1 MsgAppResp Term:1 Log:0/12
        2->1 MsgAppResp Term:1 Log:0/13

        # With the answers of 2 both entries are committed, one after the other: each advance is
        # told to both followers.
        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/12
        2->1 MsgAppResp Term:1 Log:0/13

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:13
        CommittedEntries:
        1/12 EntryNormal "one"
        1/13 EntryNormal "two"
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:12
        1->3 MsgApp Term:1 Log:1/13 Commit:12
        1->2 MsgApp Term:1 Log:1/13 Commit:13
        1->3 MsgApp Term:1 Log:1/13 Commit:13

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateReplicate match=11 next=14 inflight=2

        # By its answers the leader sees that 3 knows it all already: nothing more is sent.
        deliver-msgs 3
        ----
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "one"]
        1->3 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "two"]
        1->3 MsgApp Term:1 Log:1/13 Commit:12
        1->3 MsgApp Term:1 Log:1/13 Commit:13

        process-ready 3
        ----
        Ready MustSync=true:
        HardState Term:1 Vote:1 Commit:13
        Entries:
        1/12 EntryNormal "one"
        1/13 EntryNormal "two"
        CommittedEntries:
        1/12 EntryNormal "one"
        1/13 EntryNormal "two"
        Messages:
        3->1 MsgAppResp Term:1 Log:0/12
        3->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/13

        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:0/12
        3->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/13

        process-ready 1
        ----
        <empty Ready>

        stabilize log-level=none
        ----

        # The news of a commit is lost.
        propose 1 three
        ----

        log-level none
        ----

        process-ready 1
        ----

        stabilize 2 3
        ----

        deliver-msgs 1
        ----

        log-level info
        ----

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:14
        CommittedEntries:
        1/14 EntryNormal "three"
        Messages:
        1->2 MsgApp Term:1 Log:1/14 Commit:14
        1->3 MsgApp Term:1 Log:1/14 Commit:14

        deliver-msgs drop=(2,3)
        ----
        dropped: 1->2 MsgApp Term:1 Log:1/14 Commit:14
        dropped: 1->3 MsgApp Term:1 Log:1/14 Commit:14

        # A heartbeat repeats it: as far as the follower is known to have the entries.
        tick-heartbeat 1
        ----

        stabilize
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgHeartbeat Term:1 Log:0/0 Commit:14
          1->3 MsgHeartbeat Term:1 Log:0/0 Commit:14
        > 2 receiving messages
          1->2 MsgHeartbeat Term:1 Log:0/0 Commit:14
        > 3 receiving messages
          1->3 MsgHeartbeat Term:1 Log:0/0 Commit:14
        > 2 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:14
          CommittedEntries:
          1/14 EntryNormal "three"
          Messages:
          2->1 MsgHeartbeatResp Term:1 Log:0/0
        > 3 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:14
          CommittedEntries:
          1/14 EntryNormal "three"
          Messages:
          3->1 MsgHeartbeatResp Term:1 Log:0/0
        > 1 receiving messages
          2->1 MsgHeartbeatResp Term:1 Log:0/0
          3->1 MsgHeartbeatResp Term:1 Log:0/0

        # The other way round: the commit index is greater than what a follower is known to have.
        # The heartbeat tells no more than that, so the leader tells it again when it hears of 3.
        propose 1 four
        ----

        log-level none
        ----

        process-ready 1
        ----

        stabilize 1 2
        ----

        log-level info
        ----

        tick-heartbeat 1
        ----

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->2 MsgHeartbeat Term:1 Log:0/0 Commit:15
        1->3 MsgHeartbeat Term:1 Log:0/0 Commit:14

        deliver-msgs 3
        ----
        1->3 MsgApp Term:1 Log:1/14 Commit:14 Entries:[1/15 EntryNormal "four"]
        1->3 MsgApp Term:1 Log:1/15 Commit:15
        1->3 MsgHeartbeat Term:1 Log:0/0 Commit:14

        process-ready 3
        ----
        Ready MustSync=true:
        HardState Term:1 Vote:1 Commit:15
        Entries:
        1/15 EntryNormal "four"
        CommittedEntries:
        1/15 EntryNormal "four"
        Messages:
        3->1 MsgHeartbeatResp Term:1 Log:0/0
        3->1 MsgAppResp Term:1 Log:0/15
        3->1 MsgAppResp Term:1 Log:0/15

        stabilize 1 3
        ----
        > 1 receiving messages
          3->1 MsgHeartbeatResp Term:1 Log:0/0
          3->1 MsgAppResp Term:1 Log:0/15
          3->1 MsgAppResp Term:1 Log:0/15
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->3 MsgApp Term:1 Log:1/15 Commit:15
        > 3 receiving messages
          1->3 MsgApp Term:1 Log:1/15 Commit:15
        > 3 handling Ready
          Ready MustSync=false:
          Messages:
          3->1 MsgAppResp Term:1 Log:0/15
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/15
        """)
}
