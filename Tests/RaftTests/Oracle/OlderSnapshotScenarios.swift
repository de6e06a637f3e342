// OlderSnapshotScenarios.swift - our scenarios: a follower that waits for a snapshot, or would.

extension OwnScenario {
    static let older = Self(
        "an older snapshot than the one that is waited for",
        """
        # A follower that waits for a snapshot installs an older one. The leader goes on from
        # there if its log reaches as far back, and waits if it does not.
        log-level none
        ----

        add-nodes 2 voters=(1,2,3) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        add-nodes 1
        ----

        deliver-msgs drop=(3)
        ----

        # A snapshot is under way before the leader thinks of one itself.
        send-snapshot 1 3
        ----

        propose 1 a
        ----

        stabilize 1 2
        ----

        propose 1 b
        ----

        stabilize 1 2
        ----

        compact 1 12
        ----

        tick-heartbeat 1
        ----

        process-ready 1
        ----

        log-level info
        ----

        deliver-msgs 3 type=MsgHeartbeat
        ----
        1->3 MsgHeartbeat Term:1 Log:0/0

        process-ready 3
        ----
        Ready MustSync=true:
        Lead:1 State:StateFollower
        HardState Term:1 Commit:0
        Messages:
        3->1 MsgHeartbeatResp Term:1 Log:0/0

        deliver-msgs 1
        ----
        3->1 MsgHeartbeatResp Term:1 Log:0/0

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateSnapshot match=0 next=14 paused pendingSnap=13

        # The one at 11 arrives. 12 is not in the leader's log any more.
        deliver-msgs 3
        ----
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:11 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        process-ready 3
        ----
        Ready MustSync=false:
        HardState Term:1 Commit:11
        Snapshot Index:11 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        Messages:
        3->1 MsgAppResp Term:1 Log:0/11

        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:0/11

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateSnapshot match=11 next=14 paused pendingSnap=13

        # The leader's own is lost, and heartbeats do not end the wait.
        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        deliver-msgs drop=(3)
        ----
        dropped: 1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        tick-heartbeat 1
        ----

        stabilize 1 3 log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateSnapshot match=11 next=14 paused pendingSnap=13

        # One at the index that the leader waits for ends it, and the entry behind it follows at
        # once.
        send-snapshot 1 3
        ----
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        propose 1 c
        ----

        stabilize 1 2 log-level=none
        ----

        stabilize 1 3
        ----
        > 3 receiving messages
          1->3 MsgSnap Term:1 Log:0/0
            Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 3 handling Ready
          Ready MustSync=false:
          HardState Term:1 Commit:13
          Snapshot Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
          Messages:
          3->1 MsgAppResp Term:1 Log:0/13
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/13
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->3 MsgApp Term:1 Log:1/13 Commit:14 Entries:[1/14 EntryNormal "c"]
        > 3 receiving messages
          1->3 MsgApp Term:1 Log:1/13 Commit:14 Entries:[1/14 EntryNormal "c"]
        > 3 handling Ready
          Ready MustSync=true:
          HardState Term:1 Commit:14
          Entries:
          1/14 EntryNormal "c"
          CommittedEntries:
          1/14 EntryNormal "c"
          Messages:
          3->1 MsgAppResp Term:1 Log:0/14
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/14

        # Once more, with a log that reaches back to the older snapshot.
        log-level none
        ----

        add-nodes 2 voters=(4,5,6) index=10
        ----

        campaign 4
        ----

        stabilize 4 5
        ----

        add-nodes 1
        ----

        send-snapshot 4 6
        ----

        propose 4 a
        ----

        stabilize 4 5
        ----

        compact 4 11
        ----

        deliver-msgs drop=(6) type=MsgVote
        ----

        deliver-msgs drop=(6) type=MsgApp
        ----

        tick-heartbeat 4
        ----

        process-ready 4
        ----

        deliver-msgs 6 type=MsgHeartbeat
        ----

        process-ready 6
        ----

        deliver-msgs 4
        ----

        log-level info
        ----

        status 4
        ----
        4: StateReplicate match=12 next=13
        5: StateReplicate match=12 next=13
        6: StateSnapshot match=0 next=13 paused pendingSnap=12

        deliver-msgs 6
        ----
        4->6 MsgSnap Term:1 Log:0/0
          Snapshot: Index:11 Term:1 ConfState:Voters:[4 5 6] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        process-ready 6
        ----
        Ready MustSync=false:
        HardState Term:1 Commit:11
        Snapshot Index:11 Term:1 ConfState:Voters:[4 5 6] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        Messages:
        6->4 MsgAppResp Term:1 Log:0/11

        deliver-msgs 4
        ----
        6->4 MsgAppResp Term:1 Log:0/11

        status 4
        ----
        4: StateReplicate match=12 next=13
        5: StateReplicate match=12 next=13
        6: StateReplicate match=11 next=13 inflight=1

        process-ready 4
        ----
        Ready MustSync=false:
        Messages:
        4->6 MsgSnap Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[4 5 6] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        4->6 MsgApp Term:1 Log:1/11 Commit:12 Entries:[1/12 EntryNormal "a"]

        # The snapshot that nobody waits for is taken all the same, and the entry is in it.
        deliver-msgs 6
        ----
        4->6 MsgSnap Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[4 5 6] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        4->6 MsgApp Term:1 Log:1/11 Commit:12 Entries:[1/12 EntryNormal "a"]

        process-ready 6
        ----
        Ready MustSync=false:
        HardState Term:1 Commit:12
        Snapshot Index:12 Term:1 ConfState:Voters:[4 5 6] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        Messages:
        6->4 MsgAppResp Term:1 Log:0/12
        6->4 MsgAppResp Term:1 Log:0/12
        """)

    static let silent = Self(
        "a follower that is not heard of",
        """
        # To a follower that has not been heard of lately no snapshot is sent: it would be for
        # nobody.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 checkquorum=true
        ----

        campaign 1
        ----

        stabilize
        ----

        propose 1 a
        ----

        stabilize 1 2
        ----

        deliver-msgs drop=(3)
        ----

        # Two checks of the quorum: 2 answers, 3 does not.
        tick-election 1
        ----

        stabilize 1 2
        ----

        tick-election 1
        ----

        stabilize 1 2
        ----

        deliver-msgs drop=(3)
        ----

        compact 1 12
        ----

        report-unreachable 1 3
        ----

        log-level info
        ----

        status 1
        ----
        1: StateReplicate match=12 next=13
        2: StateReplicate match=12 next=13
        3: StateProbe match=11 next=12 inactive

        propose 1 b
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/13 EntryNormal "b"
        Messages:
        1->2 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryNormal "b"]

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=12 next=14 inflight=1
        3: StateProbe match=11 next=12 inactive

        # It is sent when 3 is heard of again.
        tick-heartbeat 1
        ----

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->2 MsgHeartbeat Term:1 Log:0/0 Commit:12
        1->3 MsgHeartbeat Term:1 Log:0/0 Commit:11

        deliver-msgs 3
        ----
        1->3 MsgHeartbeat Term:1 Log:0/0 Commit:11

        process-ready 3
        ----
        Ready MustSync=false:
        Messages:
        3->1 MsgHeartbeatResp Term:1 Log:0/0

        deliver-msgs 1
        ----
        3->1 MsgHeartbeatResp Term:1 Log:0/0

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=12 next=14 inflight=1
        3: StateSnapshot match=11 next=13 paused pendingSnap=12

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        stabilize log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateReplicate match=13 next=14
        """)
}
