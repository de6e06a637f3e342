// ProbeScenarios.swift - our scenarios: a follower that is probed.

extension OwnScenario {
    static let probing = Self(
        "news of commits without entries",
        """
        # A follower that is probed and lacks nothing is told of every commit: an append without
        # entries does not have to be answered before the next one.
        log-level none
        ----

        add-nodes 5 voters=(1,2,3,4,5) index=10
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

        stabilize 2
        ----

        deliver-msgs 1
        ----

        report-unreachable 1 2
        ----

        log-level info
        ----

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateProbe match=13 next=14
        3: StateReplicate match=11 next=14 inflight=2
        4: StateReplicate match=11 next=14 inflight=2
        5: StateReplicate match=11 next=14 inflight=2

        deliver-msgs 3
        ----
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "a"]
        1->3 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "b"]

        process-ready 3
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "a"
        1/13 EntryNormal "b"
        Messages:
        3->1 MsgAppResp Term:1 Log:0/12
        3->1 MsgAppResp Term:1 Log:0/13

        deliver-msgs 1
        ----
        3->1 MsgAppResp Term:1 Log:0/12
        3->1 MsgAppResp Term:1 Log:0/13

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:13
        CommittedEntries:
        1/12 EntryNormal "a"
        1/13 EntryNormal "b"
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:12
        1->3 MsgApp Term:1 Log:1/13 Commit:12
        1->4 MsgApp Term:1 Log:1/13 Commit:12
        1->5 MsgApp Term:1 Log:1/13 Commit:12
        1->2 MsgApp Term:1 Log:1/13 Commit:13
        1->3 MsgApp Term:1 Log:1/13 Commit:13
        1->4 MsgApp Term:1 Log:1/13 Commit:13
        1->5 MsgApp Term:1 Log:1/13 Commit:13

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateProbe match=13 next=14
        3: StateReplicate match=13 next=14
        4: StateReplicate match=11 next=14 inflight=2
        5: StateReplicate match=11 next=14 inflight=2

        # Its answers tell nothing new, and yet they end the probe.
        stabilize 2
        ----
        > 2 receiving messages
          1->2 MsgApp Term:1 Log:1/13 Commit:12
          1->2 MsgApp Term:1 Log:1/13 Commit:13
        > 2 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:13
          CommittedEntries:
          1/12 EntryNormal "a"
          1/13 EntryNormal "b"
          Messages:
          2->1 MsgAppResp Term:1 Log:0/13
          2->1 MsgAppResp Term:1 Log:0/13

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/13
        2->1 MsgAppResp Term:1 Log:0/13

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=13 next=14
        3: StateReplicate match=13 next=14
        4: StateReplicate match=11 next=14 inflight=2
        5: StateReplicate match=11 next=14 inflight=2
        """)

    static let unreachable = Self(
        "a follower that cannot be reached",
        """
        # A follower that cannot be reached is probed: what was sent to it may be lost.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        propose 1 one
        ----

        propose 1 two
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "one"
        1/13 EntryNormal "two"
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "one"]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "one"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "two"]
        1->3 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "two"]

        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateReplicate match=11 next=14 inflight=2
        3: StateReplicate match=11 next=14 inflight=2

        report-unreachable 1 2
        ----

        # The window is empty, the next entry to send is the one behind what 2 is known to have.
        status 1
        ----
        1: StateReplicate match=13 next=14
        2: StateProbe match=11 next=12
        3: StateReplicate match=11 next=14 inflight=2

        # One append goes out and no more until it is answered.
        propose 1 three
        ----

        propose 1 four
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/14 EntryNormal "three"
        1/15 EntryNormal "four"
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[
          1/12 EntryNormal "one"
          1/13 EntryNormal "two"
          1/14 EntryNormal "three"
        ]
        1->3 MsgApp Term:1 Log:1/13 Commit:11 Entries:[1/14 EntryNormal "three"]
        1->3 MsgApp Term:1 Log:1/14 Commit:11 Entries:[1/15 EntryNormal "four"]

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateProbe match=11 next=12 paused
        3: StateReplicate match=11 next=16 inflight=4

        # A second report changes nothing; nor does one at a follower.
        report-unreachable 1 2
        ----

        report-unreachable 2 1
        ----

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateProbe match=11 next=12 paused
        3: StateReplicate match=11 next=16 inflight=4

        status 2
        ----

        # Everything was lost indeed.
        deliver-msgs drop=(2)
        ----
        dropped: 1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "one"]
        dropped: 1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "two"]
        dropped: 1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[
          1/12 EntryNormal "one"
          1/13 EntryNormal "two"
          1/14 EntryNormal "three"
        ]

        stabilize log-level=none
        ----

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateProbe match=11 next=12 paused
        3: StateReplicate match=15 next=16

        # A heartbeat that is answered lets the probe go out again.
        tick-heartbeat 1
        ----

        stabilize 1 2
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgHeartbeat Term:1 Log:0/0 Commit:11
          1->3 MsgHeartbeat Term:1 Log:0/0 Commit:15
        > 2 receiving messages
          1->2 MsgHeartbeat Term:1 Log:0/0 Commit:11
        > 2 handling Ready
          Ready MustSync=false:
          Messages:
          2->1 MsgHeartbeatResp Term:1 Log:0/0
        > 1 receiving messages
          2->1 MsgHeartbeatResp Term:1 Log:0/0
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgApp Term:1 Log:1/11 Commit:15 Entries:[
            1/12 EntryNormal "one"
            1/13 EntryNormal "two"
            1/14 EntryNormal "three"
            1/15 EntryNormal "four"
          ]
        > 2 receiving messages
          1->2 MsgApp Term:1 Log:1/11 Commit:15 Entries:[
            1/12 EntryNormal "one"
            1/13 EntryNormal "two"
            1/14 EntryNormal "three"
            1/15 EntryNormal "four"
          ]
        > 2 handling Ready
          Ready MustSync=true:
          HardState Term:1 Vote:1 Commit:15
          Entries:
          1/12 EntryNormal "one"
          1/13 EntryNormal "two"
          1/14 EntryNormal "three"
          1/15 EntryNormal "four"
          CommittedEntries:
          1/12 EntryNormal "one"
          1/13 EntryNormal "two"
          1/14 EntryNormal "three"
          1/15 EntryNormal "four"
          Messages:
          2->1 MsgAppResp Term:1 Log:0/15
        > 1 receiving messages
          2->1 MsgAppResp Term:1 Log:0/15

        status 1
        ----
        1: StateReplicate match=15 next=16
        2: StateReplicate match=15 next=16
        3: StateReplicate match=15 next=16

        # The append arrived after all: its answer ends the probe.
        propose 1 five
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/16 EntryNormal "five"
        Messages:
        1->2 MsgApp Term:1 Log:1/15 Commit:15 Entries:[1/16 EntryNormal "five"]
        1->3 MsgApp Term:1 Log:1/15 Commit:15 Entries:[1/16 EntryNormal "five"]

        report-unreachable 1 2
        ----

        status 1
        ----
        1: StateReplicate match=16 next=17
        2: StateProbe match=15 next=16
        3: StateReplicate match=15 next=17 inflight=1

        stabilize 2 log-level=none
        ----

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/16

        status 1
        ----
        1: StateReplicate match=16 next=17
        2: StateReplicate match=16 next=17
        3: StateReplicate match=15 next=17 inflight=1
        """)
}
