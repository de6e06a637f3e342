// FlowScenarios.swift - our scenarios: windows, probes and their recovery.

extension OwnScenario {
    static let window = Self(
        "the window of appends",
        """
        # The window of appends: filled, freed by answers, emptied by a refusal. Old refusals
        # count for nothing.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 inflight=2
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        propose 1 a
        ----

        propose 1 b
        ----

        propose 1 c
        ----

        propose 1 d
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "a"
        1/13 EntryNormal "b"
        1/14 EntryNormal "c"
        1/15 EntryNormal "d"
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "a"]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "a"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "b"]
        1->3 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "b"]

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=11 next=14 paused inflight=2[full]
        3: StateReplicate match=11 next=14 paused inflight=2[full]

        # One answer frees one place, for one append with all that has gathered.
        deliver-msgs 2
        ----
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "a"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "b"]

        process-ready 2
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "a"
        1/13 EntryNormal "b"
        Messages:
        2->1 MsgAppResp Term:1 Log:0/12
        2->1 MsgAppResp Term:1 Log:0/13

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/12
        2->1 MsgAppResp Term:1 Log:0/13

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:13
        CommittedEntries:
        1/12 EntryNormal "a"
        1/13 EntryNormal "b"
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:12 Entries:[
          1/14 EntryNormal "c"
          1/15 EntryNormal "d"
        ]
        1->2 MsgApp Term:1 Log:1/15 Commit:13

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=13 next=16 inflight=1
        3: StateReplicate match=11 next=14 paused inflight=2[full]

        # What went to 3 is lost. An answer to a heartbeat allows one empty append; it is refused,
        # and the leader probes from where 3 is known to be.
        log-level none
        ----

        stabilize 1 2
        ----

        deliver-msgs drop=(3)
        ----

        tick-heartbeat 1
        ----

        tick-heartbeat 1
        ----

        process-ready 1
        ----

        stabilize 3
        ----

        deliver-msgs 1
        ----

        log-level info
        ----

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->3 MsgApp Term:1 Log:1/13 Commit:15
        1->3 MsgApp Term:1 Log:1/13 Commit:15

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=15 next=16
        3: StateReplicate match=11 next=14 paused inflight=2[full]

        deliver-msgs 3
        ----
        1->3 MsgApp Term:1 Log:1/13 Commit:15
        1->3 MsgApp Term:1 Log:1/13 Commit:15

        process-ready 3
        ----
        Ready MustSync=false:
        Messages:
        3->1 MsgAppResp Term:1 Log:1/13 Rejected (Hint: 11)
        3->1 MsgAppResp Term:1 Log:1/13 Rejected (Hint: 11)

        # Two refusals of the same: the second one is old news to the probe.
        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:1/13 Rejected (Hint: 11)
        3->1 MsgAppResp Term:1 Log:1/13 Rejected (Hint: 11)

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=15 next=16
        3: StateProbe match=11 next=12 paused

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->3 MsgApp Term:1 Log:1/11 Commit:15 Entries:[
          1/12 EntryNormal "a"
          1/13 EntryNormal "b"
          1/14 EntryNormal "c"
          1/15 EntryNormal "d"
        ]

        stabilize log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=15 next=16
        3: StateReplicate match=15 next=16

        # One place in the window: every append waits for the answer to the one before.
        add-nodes 2 voters=(4,5) index=10 inflight=1
        ----

        campaign 4
        ----

        stabilize 4 5 log-level=none
        ----

        propose 4 a
        ----

        propose 4 b
        ----

        propose 4 c
        ----

        process-ready 4
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "a"
        1/13 EntryNormal "b"
        1/14 EntryNormal "c"
        Messages:
        4->5 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "a"]

        stabilize 5 log-level=none
        ----

        deliver-msgs 4
        ----
        5->4 MsgAppResp Term:1 Log:0/12

        process-ready 4
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:4 Commit:12
        CommittedEntries:
        1/12 EntryNormal "a"
        Messages:
        4->5 MsgApp Term:1 Log:1/12 Commit:12 Entries:[
          1/13 EntryNormal "b"
          1/14 EntryNormal "c"
        ]

        status 4
        ----
        4: StateReplicate match=14 next=15
        5: StateReplicate match=12 next=15 paused inflight=1[full]
        """)
}
