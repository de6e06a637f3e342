// StoredSnapshotScenarios.swift - our scenarios: a snapshot on its way to the disk.

extension OwnScenario {
    static let waiting = Self(
        "a snapshot whose store takes its time",
        """
        # A snapshot is stored like entries. Until the news of that its node does not stand for
        # election and applies nothing behind it. The news counts in a later term, too: what it
        # holds is committed.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 async-storage-writes=true
        ----

        campaign 1
        ----

        stabilize 1 2
        ----

        propose 1 a
        ----

        stabilize 1 2
        ----

        compact 1 12
        ----

        deliver-msgs drop=(3)
        ----

        tick-heartbeat 1
        ----

        process-ready 1
        ----

        deliver-msgs 3
        ----

        process-ready 3
        ----

        process-append-thread 3
        ----

        deliver-msgs 1
        ----

        process-ready 1
        ----

        log-level info
        ----

        deliver-msgs 3
        ----
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        process-ready 3
        ----
        Ready MustSync=false:
        HardState Term:1 Commit:12
        Snapshot Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        Messages:
        3->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:12
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false Responses:[
          3->1 MsgAppResp Term:1 Log:0/12
          AppendThread->3 MsgStorageAppendResp Term:1 Log:0/0
            Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        ]

        # The snapshot is under way.
        campaign 3
        ----

        process-ready 3
        ----
        <empty Ready>

        # A second one like it is answered with the commit index.
        send-snapshot 1 3
        ----
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        deliver-msgs 3
        ----
        1->3 MsgSnap Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        process-append-thread 3
        ----
        Processing:
        3->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:12
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        Responses:
        3->1 MsgAppResp Term:1 Log:0/12
        AppendThread->3 MsgStorageAppendResp Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false

        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:0/12

        # Entries behind the snapshot come, and are committed, before the news that it is
        # installed.
        propose 1 b
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/13 EntryNormal "b"
        Messages:
        1->2 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryNormal "b"]
        1->3 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryNormal "b"]
        1->AppendThread MsgStorageAppend Term:0 Log:0/0 Entries:[1/13 EntryNormal "b"] Responses:[
          1->1 MsgAppResp Term:1 Log:0/13
          AppendThread->1 MsgStorageAppendResp Term:1 Log:1/13
        ]

        deliver-msgs 3 type=MsgApp
        ----
        1->3 MsgApp Term:1 Log:1/12 Commit:12 Entries:[1/13 EntryNormal "b"]

        stabilize 1 2 log-level=none
        ----

        deliver-msgs 3 type=MsgApp
        ----
        1->3 MsgApp Term:1 Log:1/13 Commit:13

        process-ready 3
        ----
        Ready MustSync=true:
        HardState Term:1 Commit:13
        Entries:
        1/13 EntryNormal "b"
        Messages:
        3->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:13 Entries:[1/13 EntryNormal "b"] \
        Responses:[
          3->1 MsgAppResp Term:1 Log:0/12
          3->1 MsgAppResp Term:1 Log:0/13
          3->1 MsgAppResp Term:1 Log:0/13
          AppendThread->3 MsgStorageAppendResp Term:1 Log:1/13
        ]

        process-append-thread 3
        ----
        Processing:
        3->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:13 Entries:[1/13 EntryNormal "b"]
        Responses:
        3->1 MsgAppResp Term:1 Log:0/12
        3->1 MsgAppResp Term:1 Log:0/13
        3->1 MsgAppResp Term:1 Log:0/13
        AppendThread->3 MsgStorageAppendResp Term:1 Log:1/13

        process-append-thread 3
        ----
        no append work to perform

        # A new term begins before the news.
        campaign 2
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:2 Vote:2 Commit:13
        Messages:
        2->1 MsgVote Term:2 Log:1/13
        2->3 MsgVote Term:2 Log:1/13
        2->AppendThread MsgStorageAppend Term:2 Log:0/0 Commit:13 Vote:2 Responses:[
          2->2 MsgVoteResp Term:2 Log:0/0
        ]

        deliver-msgs 3 type=MsgVote
        ----
        2->3 MsgVote Term:2 Log:1/13

        deliver-msgs 3
        ----
        AppendThread->3 MsgStorageAppendResp Term:1 Log:0/0
          Snapshot: Index:12 Term:1 ConfState:Voters:[1 2 3] VotersOutgoing:[] Learners:[] \
        LearnersNext:[] AutoLeave:false
        AppendThread->3 MsgStorageAppendResp Term:1 Log:1/13

        process-ready 3
        ----
        Ready MustSync=true:
        Lead:0 State:StateFollower
        HardState Term:2 Vote:2 Commit:13
        Messages:
        3->AppendThread MsgStorageAppend Term:2 Log:0/0 Commit:13 Vote:2 Responses:[
          3->2 MsgVoteResp Term:2 Log:0/0
          AppendThread->3 MsgStorageAppendResp Term:2 Log:1/13
        ]

        raft-log 3
        ----
        1/13 EntryNormal "b"

        stabilize 1 2 3 log-level=none
        ----

        raft-log 3
        ----
        1/13 EntryNormal "b"
        2/14 EntryNormal ""

        status 2
        ----
        1: StateReplicate match=14 next=15
        2: StateReplicate match=14 next=15
        3: StateReplicate match=14 next=15
        """)
}
