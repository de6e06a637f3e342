// StoreScenarios.swift - our scenarios: stores and applies that take their time.

extension OwnScenario {
    static let appendRace = Self(
        "late news of a store that was overtaken",
        """
        # Three stores of one follower are under way at once: the second takes away what the first
        # has written, the third puts the same entry there again. The late news of the first must
        # not pass for news of the third, though index and term of the entry are the same.
        log-level none
        ----

        add-nodes 5 voters=(1,2,3,4,5) index=10 async-storage-writes=true
        ----

        campaign 1
        ----

        stabilize
        ----

        # Leader 1 gets an entry to 3 only, whose store of it stays under way.
        propose 1 first
        ----

        process-ready 1
        ----

        log-level info
        ----

        deliver-msgs 3 drop=(2,4,5)
        ----
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "first"]
        dropped: 1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "first"]
        dropped: 1->4 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "first"]
        dropped: 1->5 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "first"]

        process-ready 3
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "first"
        Messages:
        3->AppendThread MsgStorageAppend Term:0 Log:0/0 Entries:[1/12 EntryNormal "first"] \
        Responses:[
          3->1 MsgAppResp Term:1 Log:0/12
          AppendThread->3 MsgStorageAppendResp Term:1 Log:1/12
        ]

        # 2 is elected by 4 and 5. Its own first entry replaces the one at 3.
        campaign 2
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:2 Vote:2 Commit:11
        Messages:
        2->1 MsgVote Term:2 Log:1/11
        2->3 MsgVote Term:2 Log:1/11
        2->4 MsgVote Term:2 Log:1/11
        2->5 MsgVote Term:2 Log:1/11
        2->AppendThread MsgStorageAppend Term:2 Log:0/0 Commit:11 Vote:2 Responses:[
          2->2 MsgVoteResp Term:2 Log:0/0
        ]

        deliver-msgs 1 type=MsgVote
        ----
        2->1 MsgVote Term:2 Log:1/11

        log-level none
        ----

        stabilize 4 5
        ----

        stabilize 2
        ----

        deliver-msgs drop=(1,4,5)
        ----

        log-level info
        ----

        deliver-msgs 3
        ----
        2->3 MsgVote Term:2 Log:1/11
        2->3 MsgApp Term:2 Log:1/11 Commit:11 Entries:[2/12 EntryNormal ""]

        process-ready 3
        ----
        Ready MustSync=true:
        Lead:2 State:StateFollower
        HardState Term:2 Commit:11
        Entries:
        2/12 EntryNormal ""
        Messages:
        3->AppendThread MsgStorageAppend Term:2 Log:0/0 Commit:11 Entries:[2/12 EntryNormal ""] \
        Responses:[
          3->2 MsgVoteResp Term:2 Log:0/0 Rejected (Hint: 0)
          3->2 MsgAppResp Term:2 Log:0/12
          AppendThread->3 MsgStorageAppendResp Term:2 Log:2/12
        ]

        # 1 has stored its entry by now, and is elected by 4 and 5 once more.
        log-level none
        ----

        stabilize 1
        ----

        campaign 1
        ----

        stabilize 1 4 5
        ----

        deliver-msgs drop=(2)
        ----

        log-level info
        ----

        raft-state
        ----
        1: StateLeader (Voter) Term:3 Lead:1
        2: StateLeader (Voter) Term:2 Lead:2
        3: StateFollower (Voter) Term:2 Lead:2
        4: StateFollower (Voter) Term:3 Lead:1
        5: StateFollower (Voter) Term:3 Lead:1

        # 3 refuses the new leader's first append. That answer waits for all three stores.
        deliver-msgs 3
        ----
        1->3 MsgVote Term:3 Log:1/12
        1->3 MsgApp Term:3 Log:1/12 Commit:11 Entries:[3/13 EntryNormal ""]

        process-ready 3
        ----
        Ready MustSync=true:
        Lead:1 State:StateFollower
        HardState Term:3 Commit:11
        Messages:
        3->AppendThread MsgStorageAppend Term:3 Log:0/0 Commit:11 Responses:[
          3->1 MsgVoteResp Term:3 Log:0/0 Rejected (Hint: 0)
          3->1 MsgAppResp Term:3 Log:1/12 Rejected (Hint: 11)
          AppendThread->3 MsgStorageAppendResp Term:3 Log:2/12
        ]

        process-append-thread 3
        ----
        Processing:
        3->AppendThread MsgStorageAppend Term:0 Log:0/0 Entries:[1/12 EntryNormal "first"]
        Responses:
        3->1 MsgAppResp Term:1 Log:0/12
        AppendThread->3 MsgStorageAppendResp Term:1 Log:1/12

        process-append-thread 3
        ----
        Processing:
        3->AppendThread MsgStorageAppend Term:2 Log:0/0 Commit:11 Entries:[2/12 EntryNormal ""]
        Responses:
        3->2 MsgVoteResp Term:2 Log:0/0 Rejected (Hint: 0)
        3->2 MsgAppResp Term:2 Log:0/12
        AppendThread->3 MsgStorageAppendResp Term:2 Log:2/12

        process-append-thread 3
        ----
        Processing:
        3->AppendThread MsgStorageAppend Term:3 Log:0/0 Commit:11
        Responses:
        3->1 MsgVoteResp Term:3 Log:0/0 Rejected (Hint: 0)
        3->1 MsgAppResp Term:3 Log:1/12 Rejected (Hint: 11)
        AppendThread->3 MsgStorageAppendResp Term:3 Log:2/12

        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:0/12
        3->1 MsgVoteResp Term:3 Log:0/0 Rejected (Hint: 0)
        3->1 MsgAppResp Term:3 Log:1/12 Rejected (Hint: 11)

        stabilize 1
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->3 MsgApp Term:3 Log:1/11 Commit:13 Entries:[
            1/12 EntryNormal "first"
            3/13 EntryNormal ""
          ]

        # The first entry is back in the log of 3; on its disk is the one that took its place.
        deliver-msgs 3 type=MsgApp
        ----
        1->3 MsgApp Term:3 Log:1/11 Commit:13 Entries:[
          1/12 EntryNormal "first"
          3/13 EntryNormal ""
        ]

        raft-log 3
        ----
        1/11 EntryNormal ""
        2/12 EntryNormal ""

        # The news of all three stores comes only now: of term 1, of term 2, and of another entry.
        # It counts for nothing, so that nothing may be applied yet, though all of it is
        # committed.
        deliver-msgs 3
        ----
        AppendThread->3 MsgStorageAppendResp Term:1 Log:1/12
        AppendThread->3 MsgStorageAppendResp Term:2 Log:2/12
        AppendThread->3 MsgStorageAppendResp Term:3 Log:2/12

        process-ready 3
        ----
        Ready MustSync=true:
        HardState Term:3 Commit:13
        Entries:
        1/12 EntryNormal "first"
        3/13 EntryNormal ""
        Messages:
        3->AppendThread MsgStorageAppend Term:3 Log:0/0 Commit:13 Entries:[
          1/12 EntryNormal "first"
          3/13 EntryNormal ""
        ] Responses:[
          3->1 MsgAppResp Term:3 Log:0/13
          AppendThread->3 MsgStorageAppendResp Term:3 Log:3/13
        ]

        process-ready 3
        ----
        <empty Ready>

        process-append-thread 3
        ----
        Processing:
        3->AppendThread MsgStorageAppend Term:3 Log:0/0 Commit:13 Entries:[
          1/12 EntryNormal "first"
          3/13 EntryNormal ""
        ]
        Responses:
        3->1 MsgAppResp Term:3 Log:0/13
        AppendThread->3 MsgStorageAppendResp Term:3 Log:3/13

        raft-log 3
        ----
        1/11 EntryNormal ""
        1/12 EntryNormal "first"
        3/13 EntryNormal ""

        stabilize 1 3
        ----
        > 1 receiving messages
          3->1 MsgAppResp Term:3 Log:0/13
        > 3 receiving messages
          AppendThread->3 MsgStorageAppendResp Term:3 Log:3/13
        > 3 handling Ready
          Ready MustSync=false:
          CommittedEntries:
          1/12 EntryNormal "first"
          3/13 EntryNormal ""
          Messages:
          3->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[
            1/12 EntryNormal "first"
            3/13 EntryNormal ""
          ] Responses:[
            ApplyThread->3 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
              1/12 EntryNormal "first"
              3/13 EntryNormal ""
            ]
          ]
        > 3 processing apply thread
          Processing:
          3->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[
            1/12 EntryNormal "first"
            3/13 EntryNormal ""
          ]
          Responses:
          ApplyThread->3 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
            1/12 EntryNormal "first"
            3/13 EntryNormal ""
          ]
        > 3 receiving messages
          ApplyThread->3 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
            1/12 EntryNormal "first"
            3/13 EntryNormal ""
          ]
        """)

    static let unapplied = Self(
        "no election before a change is applied",
        """
        # Who has a committed change of members before it and has not applied it does not
        # campaign: it cannot know yet who votes. Any other entry does not matter.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 async-storage-writes=true
        ----

        campaign 1
        ----

        stabilize
        ----

        propose-conf-change 1
        v4
        ----

        propose 1 behind
        ----

        stabilize 1
        ----

        stabilize 2
        ----

        stabilize 1
        ----

        deliver-msgs 2
        ----

        process-ready 2
        ----

        process-append-thread 2
        ----

        deliver-msgs 2
        ----

        log-level info
        ----

        # Both entries are handed out and not applied.
        process-ready 2
        ----
        <empty Ready>

        campaign 2
        ----

        process-ready 2
        ----
        <empty Ready>

        process-apply-thread 2
        ----
        Processing:
        2->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[
          1/12 EntryConfChangeV2 v4
          1/13 EntryNormal "behind"
        ]
        Responses:
        ApplyThread->2 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
          1/12 EntryConfChangeV2 v4
          1/13 EntryNormal "behind"
        ]

        campaign 2
        ----

        process-ready 2
        ----
        <empty Ready>

        # Its timeout does not count either.
        set-randomized-election-timeout 2 timeout=3
        ----

        tick-election 2
        ----

        process-ready 2
        ----
        <empty Ready>

        deliver-msgs 2
        ----
        ApplyThread->2 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
          1/12 EntryConfChangeV2 v4
          1/13 EntryNormal "behind"
        ]

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
        2->4 MsgVote Term:2 Log:1/13
        2->AppendThread MsgStorageAppend Term:2 Log:0/0 Commit:13 Vote:2 Responses:[
          2->2 MsgVoteResp Term:2 Log:0/0
        ]
        """)
}
