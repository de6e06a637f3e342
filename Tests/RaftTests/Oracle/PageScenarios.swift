// PageScenarios.swift - our scenarios: committed entries in pages.

extension OwnScenario {
    static let pages = Self(
        "one entry at a time",
        """
        # Entries are handed out to be applied in pages: one page is under way, and nothing more
        # until it is applied. One byte stands for no more than one entry, however large.
        add-nodes 1 voters=(1) index=2 async-storage-writes=true max-committed-size-per-ready=1
        ----

        campaign 1
        ----

        log-level none
        ----

        stabilize
        ----

        propose 1 a
        ----

        propose 1 b
        ----

        log-level info
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/4 EntryNormal "a"
        1/5 EntryNormal "b"
        Messages:
        1->AppendThread MsgStorageAppend Term:0 Log:0/0 Entries:[
          1/4 EntryNormal "a"
          1/5 EntryNormal "b"
        ] Responses:[
          1->1 MsgAppResp Term:1 Log:0/4
          1->1 MsgAppResp Term:1 Log:0/5
          AppendThread->1 MsgStorageAppendResp Term:1 Log:1/5
        ]

        process-append-thread 1
        ----
        Processing:
        1->AppendThread MsgStorageAppend Term:0 Log:0/0 Entries:[
          1/4 EntryNormal "a"
          1/5 EntryNormal "b"
        ]
        Responses:
        1->1 MsgAppResp Term:1 Log:0/4
        1->1 MsgAppResp Term:1 Log:0/5
        AppendThread->1 MsgStorageAppendResp Term:1 Log:1/5

        deliver-msgs 1
        ----
        1->1 MsgAppResp Term:1 Log:0/4
        1->1 MsgAppResp Term:1 Log:0/5
        AppendThread->1 MsgStorageAppendResp Term:1 Log:1/5

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:5
        CommittedEntries:
        1/4 EntryNormal "a"
        Messages:
        1->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:5 Vote:1
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/4 EntryNormal "a"] Responses:[
          ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/4 EntryNormal "a"]
        ]

        # The second entry is committed and stored, and waits for the first to be applied.
        process-ready 1
        ----
        <empty Ready>

        process-append-thread 1
        ----
        Processing:
        1->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:5 Vote:1
        Responses:

        process-apply-thread 1
        ----
        Processing:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/4 EntryNormal "a"]
        Responses:
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/4 EntryNormal "a"]

        process-ready 1
        ----
        <empty Ready>

        deliver-msgs 1
        ----
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/4 EntryNormal "a"]

        process-ready 1
        ----
        Ready MustSync=false:
        CommittedEntries:
        1/5 EntryNormal "b"
        Messages:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/5 EntryNormal "b"] Responses:[
          ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/5 EntryNormal "b"]
        ]

        process-apply-thread 1
        ----
        Processing:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/5 EntryNormal "b"]
        Responses:
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/5 EntryNormal "b"]

        process-apply-thread 1
        ----
        no apply work to perform

        deliver-msgs 1
        ----
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/5 EntryNormal "b"]

        process-ready 1
        ----
        <empty Ready>
        """)

    static let rooms = Self(
        "as many as there is room for",
        """
        # Each of these entries counts for eleven bytes: two make a page of 25.
        log-level none
        ----

        add-nodes 1 voters=(1) index=2 max-committed-size-per-ready=25 async-storage-writes=true
        ----

        campaign 1
        ----

        stabilize
        ----

        propose 1 aaa
        ----

        propose 1 bbb
        ----

        propose 1 ccc
        ----

        process-ready 1
        ----

        process-append-thread 1
        ----

        log-level info
        ----

        deliver-msgs 1
        ----
        1->1 MsgAppResp Term:1 Log:0/4
        1->1 MsgAppResp Term:1 Log:0/5
        1->1 MsgAppResp Term:1 Log:0/6
        AppendThread->1 MsgStorageAppendResp Term:1 Log:1/6

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:6
        CommittedEntries:
        1/4 EntryNormal "aaa"
        1/5 EntryNormal "bbb"
        Messages:
        1->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:6 Vote:1
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[
          1/4 EntryNormal "aaa"
          1/5 EntryNormal "bbb"
        ] Responses:[
          ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
            1/4 EntryNormal "aaa"
            1/5 EntryNormal "bbb"
          ]
        ]

        # One was left behind: the next page waits, though there would be some room.
        process-ready 1
        ----
        <empty Ready>

        process-apply-thread 1
        ----
        Processing:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[
          1/4 EntryNormal "aaa"
          1/5 EntryNormal "bbb"
        ]
        Responses:
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
          1/4 EntryNormal "aaa"
          1/5 EntryNormal "bbb"
        ]

        deliver-msgs 1
        ----
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[
          1/4 EntryNormal "aaa"
          1/5 EntryNormal "bbb"
        ]

        process-ready 1
        ----
        Ready MustSync=false:
        CommittedEntries:
        1/6 EntryNormal "ccc"
        Messages:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/6 EntryNormal "ccc"] Responses:[
          ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/6 EntryNormal "ccc"]
        ]

        # Nothing was left behind this time: what commits next is handed out into the rest of the
        # room.
        propose 1 ddd
        ----

        propose 1 eee
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/7 EntryNormal "ddd"
        1/8 EntryNormal "eee"
        Messages:
        1->AppendThread MsgStorageAppend Term:0 Log:0/0 Entries:[
          1/7 EntryNormal "ddd"
          1/8 EntryNormal "eee"
        ] Responses:[
          1->1 MsgAppResp Term:1 Log:0/7
          1->1 MsgAppResp Term:1 Log:0/8
          AppendThread->1 MsgStorageAppendResp Term:1 Log:1/8
        ]

        log-level none
        ----

        process-append-thread 1
        ----

        process-append-thread 1
        ----

        log-level info
        ----

        deliver-msgs 1
        ----
        1->1 MsgAppResp Term:1 Log:0/7
        1->1 MsgAppResp Term:1 Log:0/8
        AppendThread->1 MsgStorageAppendResp Term:1 Log:1/8

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:8
        CommittedEntries:
        1/7 EntryNormal "ddd"
        Messages:
        1->AppendThread MsgStorageAppend Term:1 Log:0/0 Commit:8 Vote:1
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/7 EntryNormal "ddd"] Responses:[
          ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/7 EntryNormal "ddd"]
        ]

        process-apply-thread 1
        ----
        Processing:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/6 EntryNormal "ccc"]
        Responses:
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/6 EntryNormal "ccc"]

        process-apply-thread 1
        ----
        Processing:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/7 EntryNormal "ddd"]
        Responses:
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/7 EntryNormal "ddd"]

        deliver-msgs 1
        ----
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/6 EntryNormal "ccc"]
        ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/7 EntryNormal "ddd"]

        process-ready 1
        ----
        Ready MustSync=false:
        CommittedEntries:
        1/8 EntryNormal "eee"
        Messages:
        1->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/8 EntryNormal "eee"] Responses:[
          ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[1/8 EntryNormal "eee"]
        ]

        stabilize log-level=none
        ----

        # The same with stores in the turn itself.
        add-nodes 1 voters=(2) index=2 max-committed-size-per-ready=25
        ----

        campaign 2
        ----

        stabilize 2 log-level=none
        ----

        propose 2 aaa
        ----

        propose 2 bbb
        ----

        propose 2 ccc
        ----

        stabilize 2
        ----
        > 2 handling Ready
          Ready MustSync=true:
          Entries:
          1/4 EntryNormal "aaa"
          1/5 EntryNormal "bbb"
          1/6 EntryNormal "ccc"
        > 2 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:2 Commit:6
          CommittedEntries:
          1/4 EntryNormal "aaa"
          1/5 EntryNormal "bbb"
        > 2 handling Ready
          Ready MustSync=false:
          CommittedEntries:
          1/6 EntryNormal "ccc"
        """)
}
