// SnapshotScenarios.swift - our scenarios: snapshots, asked for and not.

extension OwnScenario {
    static let compacted = Self(
        "what a follower needs is compacted away",
        """
        # A follower that was paused finds that the entries it needs are compacted away.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 inflight=2
        ----

        campaign 1
        ----

        stabilize
        ----

        propose 1 a
        ----

        propose 1 b
        ----

        process-ready 1
        ----

        stabilize 1 2
        ----

        deliver-msgs drop=(3)
        ----

        propose 1 c
        ----

        propose 1 d
        ----

        process-ready 1
        ----

        stabilize 1 2
        ----

        log-level info
        ----

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=15 next=16
        3: StateReplicate match=11 next=14 paused inflight=2[full]

        deliver-msgs 3
        ----
        no messages

        compact 1 13
        ----
        1/14 EntryNormal "c"
        1/15 EntryNormal "d"

        compact 1 13
        ----
        requested index is unavailable due to compaction

        # The answer to the heartbeat lets an empty append into the full window. It is refused,
        # and what 3 needs is gone.
        tick-heartbeat 1
        ----

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->2 MsgHeartbeat Term:1 Log:0/0 Commit:15
        1->3 MsgHeartbeat Term:1 Log:0/0 Commit:11

        deliver-msgs 2 3
        ----
        1->2 MsgHeartbeat Term:1 Log:0/0 Commit:15
        1->3 MsgHeartbeat Term:1 Log:0/0 Commit:11

        stabilize 1 3
        ----
        > 3 handling Ready
          Ready MustSync=false:
          Messages:
          3->1 MsgHeartbeatResp Term:1 Log:0/0
        > 1 receiving messages
          3->1 MsgHeartbeatResp Term:1 Log:0/0
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->3 MsgApp Term:1 Log:1/13 Commit:15
        > 3 receiving messages
          1->3 MsgApp Term:1 Log:1/13 Commit:15
        > 3 handling Ready
          Ready MustSync=false:
          Messages:
          3->1 MsgAppResp Term:1 Log:1/13 Rejected (Hint: 11)
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:1/13 Rejected (Hint: 11)
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->3 MsgSnap Term:1 Log:0/0
            Snapshot: Index:15 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 3 receiving messages
          1->3 MsgSnap Term:1 Log:0/0
            Snapshot: Index:15 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 3 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:15
          Snapshot Index:15 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
          Messages:
          3->1 MsgAppResp Term:1 Log:0/15
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/15

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=15 next=16
        3: StateReplicate match=15 next=16

        propose 1 e
        ----

        stabilize log-level=none
        ----

        raft-log 3
        ----
        1/16 EntryNormal "e"

        raft-log 1
        ----
        1/14 EntryNormal "c"
        1/15 EntryNormal "d"
        1/16 EntryNormal "e"

        compact 3 16
        ----
        log is empty: first index=17, last index=16

        raft-log 3
        ----
        log is empty: first index=17, last index=16
        """)

    static let delegated = Self(
        "a snapshot of a member that does not lead",
        """
        # A snapshot may come from a member that does not lead. It passes for the leader until the
        # leader's next word.
        log-level none
        ----

        add-nodes 2 voters=(1,2,3) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        deliver-msgs drop=(3)
        ----

        add-nodes 1
        ----

        log-level info
        ----

        send-snapshot 2 3
        ----
        2->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:11 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        deliver-msgs 3
        ----
        2->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:11 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        process-ready 3
        ----
        Ready MustSync=true:
        Lead:2 State:StateFollower
        HardState Term:1 Commit:11
        Snapshot Index:11 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        Messages:
        3->2 MsgAppResp Term:1 Log:0/11

        deliver-msgs 2
        ----
        3->2 MsgAppResp Term:1 Log:0/11

        process-ready 2
        ----
        <empty Ready>

        send-snapshot 2 3
        ----
        2->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:11 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        tick-heartbeat 1
        ----

        stabilize 1 3
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgHeartbeat Term:1 Log:0/0 Commit:11
          1->3 MsgHeartbeat Term:1 Log:0/0
        > 3 receiving messages
          2->3 MsgSnap Term:1 Log:0/0
            Snapshot: Index:11 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
          1->3 MsgHeartbeat Term:1 Log:0/0
        > 3 handling Ready
          Ready MustSync=false:
          Lead:1 State:StateFollower
          Messages:
          3->1 MsgHeartbeatResp Term:1 Log:0/0
          3->2 MsgAppResp Term:1 Log:0/11
        > 1 receiving messages
          3->1 MsgHeartbeatResp Term:1 Log:0/0
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->3 MsgApp Term:1 Log:1/10 Commit:11 Entries:[1/11 EntryNormal ""]
        > 3 receiving messages
          1->3 MsgApp Term:1 Log:1/10 Commit:11 Entries:[1/11 EntryNormal ""]
        > 3 handling Ready
          Ready MustSync=false:
          Messages:
          3->1 MsgAppResp Term:1 Log:0/11
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/11

        raft-log 3
        ----
        log is empty: first index=12, last index=11

        status 1
        ----
        1: StateReplicate match=11 next=12
        2: StateReplicate match=11 next=12
        3: StateReplicate match=11 next=12
        """)

    static let unasked = Self(
        "snapshots that nobody asked for",
        """
        # Snapshots that nobody asked for.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        propose 1 a
        ----

        propose 1 b
        ----

        process-ready 1
        ----

        deliver-msgs 2 drop=(3)
        ----

        stabilize 1 2
        ----

        deliver-msgs drop=(3)
        ----

        log-level info
        ----

        # 3 lacks two entries: the snapshot replaces its log. The leader takes its answer for the
        # answer to its appends.
        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateReplicate match=11 next=14 inflight=2

        send-snapshot 1 3
        ----
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        stabilize 1 3
        ----
        > 3 receiving messages
          1->3 MsgSnap Term:1 Log:0/0
            Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 3 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:13
          Snapshot Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
          Messages:
          3->1 MsgAppResp Term:1 Log:0/13
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/13

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateReplicate match=13 next=14

        raft-log 3
        ----
        log is empty: first index=14, last index=13

        # 2 has all of it: the answer is its commit index.
        send-snapshot 1 2
        ----
        1->2 MsgSnap Term:1 Log:0/0
          Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        stabilize 1 2
        ----
        > 2 receiving messages
          1->2 MsgSnap Term:1 Log:0/0
            Snapshot: Index:13 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 2 handling Ready
          Ready MustSync=false:
          Messages:
          2->1 MsgAppResp Term:1 Log:0/13
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/13

        # 2 has the entries, and does not know that they are committed: the snapshot tells it, and
        # the log stays.
        propose 1 c
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/14 EntryNormal "c"
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryNormal "c"]
        1->3 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryNormal "c"]

        stabilize 2 3 log-level=none
        ----

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/14
        3->1 MsgAppResp Term:1 Log:0/14

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:14
        CommittedEntries:
        1/14 EntryNormal "c"
        Messages:
        1->2 MsgApp Term:1 Log:1/14 Commit:14
        1->3 MsgApp Term:1 Log:1/14 Commit:14

        deliver-msgs drop=(2,3)
        ----
        dropped: 1->2 MsgApp Term:1 Log:1/14 Commit:14
        dropped: 1->3 MsgApp Term:1 Log:1/14 Commit:14

        send-snapshot 1 2
        ----
        1->2 MsgSnap Term:1 Log:0/0
          Snapshot: Index:14 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        stabilize 1 2
        ----
        > 2 receiving messages
          1->2 MsgSnap Term:1 Log:0/0
            Snapshot: Index:14 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 2 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:14
          CommittedEntries:
          1/14 EntryNormal "c"
          Messages:
          2->1 MsgAppResp Term:1 Log:0/14
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/14

        raft-log 2
        ----
        1/11 EntryNormal ""
        1/12 EntryNormal "a"
        1/13 EntryNormal "b"
        1/14 EntryNormal "c"

        # A snapshot of a past term is not even answered.
        campaign 3
        ----

        stabilize 1 3 log-level=none
        ----

        deliver-msgs drop=(2)
        ----
        dropped: 3->2 MsgVote Term:2 Log:1/14
        dropped: 3->2 MsgApp Term:2 Log:1/14 Commit:13 Entries:[2/15 EntryNormal ""]

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StateFollower (Voter) Term:1 Lead:1
        3: StateLeader (Voter) Term:2 Lead:3

        send-snapshot 2 3
        ----
        2->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:14 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        stabilize 2 3
        ----
        > 3 receiving messages
          2->3 MsgSnap Term:1 Log:0/0
            Snapshot: Index:14 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        # A node that is not a member of what the snapshot says does not take it.
        add-nodes 1
        ----

        send-snapshot 3 4
        ----
        3->4 MsgSnap Term:2 Log:0/0
          Snapshot: Index:15 Term:2 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        stabilize 3 4
        ----
        > 4 receiving messages
          3->4 MsgSnap Term:2 Log:0/0
            Snapshot: Index:15 Term:2 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        > 4 handling Ready
          Ready MustSync=true:
          Lead:3 State:StateFollower
          HardState Term:2 Commit:0
          Messages:
          4->3 MsgAppResp Term:2 Log:0/0
        > 3 receiving messages
          4->3 MsgAppResp Term:2 Log:0/0
          raft: cannot step as peer not found

        raft-log 4
        ----
        log is empty: first index=1, last index=0
        """)
}
