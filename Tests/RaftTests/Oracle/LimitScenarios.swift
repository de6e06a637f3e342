// LimitScenarios.swift - our scenarios: limits in bytes, which etcd has and its files do not set.

extension OwnScenario {
    static let sizes = Self(
        "appends and windows of appends",
        """
        # Appends have a size: each of these entries counts for eleven bytes, so two make one of
        # 25. And the window has one of data: three bytes each, so three fill one of 8.
        log-level none
        ----

        add-nodes 2 voters=(1,2) index=10 max-size-per-msg=25 max-inflight-bytes=8
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

        propose 1 ddd
        ----

        propose 1 eee
        ----

        log-level info
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "aaa"
        1/13 EntryNormal "bbb"
        1/14 EntryNormal "ccc"
        1/15 EntryNormal "ddd"
        1/16 EntryNormal "eee"
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "aaa"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "bbb"]
        1->2 MsgApp Term:1 Log:1/13 Commit:11 Entries:[1/14 EntryNormal "ccc"]

        status 1
        ----
        1: StateReplicate match=16 next=17
        2: StateReplicate match=11 next=15 paused inflight=3[full]

        # The first answer makes room for one more append, which takes two entries.
        deliver-msgs 2
        ----
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "aaa"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal "bbb"]
        1->2 MsgApp Term:1 Log:1/13 Commit:11 Entries:[1/14 EntryNormal "ccc"]

        process-ready 2
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "aaa"
        1/13 EntryNormal "bbb"
        1/14 EntryNormal "ccc"
        Messages:
        2->1 MsgAppResp Term:1 Log:0/12
        2->1 MsgAppResp Term:1 Log:0/13
        2->1 MsgAppResp Term:1 Log:0/14

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/12
        2->1 MsgAppResp Term:1 Log:0/13
        2->1 MsgAppResp Term:1 Log:0/14

        status 1
        ----
        1: StateReplicate match=16 next=17
        2: StateReplicate match=14 next=17 inflight=1

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:14
        CommittedEntries:
        1/12 EntryNormal "aaa"
        1/13 EntryNormal "bbb"
        1/14 EntryNormal "ccc"
        Messages:
        1->2 MsgApp Term:1 Log:1/14 Commit:12 Entries:[
          1/15 EntryNormal "ddd"
          1/16 EntryNormal "eee"
        ]
        1->2 MsgApp Term:1 Log:1/16 Commit:13
        1->2 MsgApp Term:1 Log:1/16 Commit:14

        # A probe that is answered is followed by as many appends as there is room for.
        log-level none
        ----

        stabilize
        ----

        report-unreachable 1 2
        ----

        propose 1 fff
        ----

        propose 1 ggg
        ----

        propose 1 hhh
        ----

        propose 1 iii
        ----

        propose 1 jjj
        ----

        propose 1 kkk
        ----

        process-ready 1
        ----

        log-level info
        ----

        status 1
        ----
        1: StateReplicate match=22 next=23
        2: StateProbe match=16 next=17 paused

        deliver-msgs 2
        ----
        1->2 MsgApp Term:1 Log:1/16 Commit:16 Entries:[1/17 EntryNormal "fff"]

        process-ready 2
        ----
        Ready MustSync=true:
        Entries:
        1/17 EntryNormal "fff"
        Messages:
        2->1 MsgAppResp Term:1 Log:0/17

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/17

        status 1
        ----
        1: StateReplicate match=22 next=23
        2: StateReplicate match=17 next=22 paused inflight=2[full]

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:17
        CommittedEntries:
        1/17 EntryNormal "fff"
        Messages:
        1->2 MsgApp Term:1 Log:1/17 Commit:17 Entries:[
          1/18 EntryNormal "ggg"
          1/19 EntryNormal "hhh"
        ]
        1->2 MsgApp Term:1 Log:1/19 Commit:17 Entries:[
          1/20 EntryNormal "iii"
          1/21 EntryNormal "jjj"
        ]

        # One entry may be larger than any append.
        log-level none
        ----

        stabilize
        ----

        propose 1 this_one_is_longer_than_anything_that_fits
        ----

        propose 1 lll
        ----

        log-level info
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/23 EntryNormal "this_one_is_longer_than_anything_that_fits"
        1/24 EntryNormal "lll"
        Messages:
        1->2 MsgApp Term:1 Log:1/22 Commit:22 Entries:[1/23 EntryNormal \
        "this_one_is_longer_than_anything_that_fits"]

        stabilize log-level=none
        ----

        raft-log 2
        ----
        1/11 EntryNormal ""
        1/12 EntryNormal "aaa"
        1/13 EntryNormal "bbb"
        1/14 EntryNormal "ccc"
        1/15 EntryNormal "ddd"
        1/16 EntryNormal "eee"
        1/17 EntryNormal "fff"
        1/18 EntryNormal "ggg"
        1/19 EntryNormal "hhh"
        1/20 EntryNormal "iii"
        1/21 EntryNormal "jjj"
        1/22 EntryNormal "kkk"
        1/23 EntryNormal "this_one_is_longer_than_anything_that_fits"
        1/24 EntryNormal "lll"
        """)

    static let uncommitted = Self(
        "proposals that are not committed",
        """
        # A leader takes proposals up to a limit of bytes that are not committed. The first may be
        # larger than the limit, and one without any data is always taken.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 max-uncommitted-size=10
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        propose 1 twelve_bytes
        ----

        propose 1 x
        ----
        raft proposal dropped

        propose-conf-change 1
        v4
        ----
        raft proposal dropped

        # Leaving a joint configuration has no data. It is not joint, so an empty entry takes its
        # place.
        propose-conf-change 1
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "twelve_bytes"
        1/13 EntryNormal ""
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "twelve_bytes"]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "twelve_bytes"]
        1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal ""]
        1->3 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal ""]

        # A follower knows nothing of it: the error comes where the leader is.
        propose 2 y
        ----

        process-ready 2
        ----
        Ready MustSync=false:
        Messages:
        2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "y"]

        deliver-msgs 1
        ----
        2->1 MsgProp Term:0 Log:0/0 Entries:[0/0 EntryNormal "y"]
        raft proposal dropped

        # What is committed counts until it is applied here.
        stabilize 2
        ----
        > 2 receiving messages
          1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "twelve_bytes"]
          1->2 MsgApp Term:1 Log:1/12 Commit:11 Entries:[1/13 EntryNormal ""]
        > 2 handling Ready
          Ready MustSync=true:
          Entries:
          1/12 EntryNormal "twelve_bytes"
          1/13 EntryNormal ""
          Messages:
          2->1 MsgAppResp Term:1 Log:0/12
          2->1 MsgAppResp Term:1 Log:0/13

        deliver-msgs 1
        ----
        2->1 MsgAppResp Term:1 Log:0/12
        2->1 MsgAppResp Term:1 Log:0/13

        propose 1 x
        ----
        raft proposal dropped

        process-ready 1
        ----
        Ready MustSync=false:
        HardState Term:1 Vote:1 Commit:13
        CommittedEntries:
        1/12 EntryNormal "twelve_bytes"
        1/13 EntryNormal ""
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:12
        1->3 MsgApp Term:1 Log:1/13 Commit:12
        1->2 MsgApp Term:1 Log:1/13 Commit:13
        1->3 MsgApp Term:1 Log:1/13 Commit:13

        # Ten bytes are not more than ten.
        propose 1 four
        ----

        propose 1 six_66
        ----

        propose 1 x
        ----
        raft proposal dropped

        # Another leader begins to count anew.
        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/14 EntryNormal "four"
        1/15 EntryNormal "six_66"
        Messages:
        1->2 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryNormal "four"]
        1->3 MsgApp Term:1 Log:1/13 Commit:13 Entries:[1/14 EntryNormal "four"]
        1->2 MsgApp Term:1 Log:1/14 Commit:13 Entries:[1/15 EntryNormal "six_66"]
        1->3 MsgApp Term:1 Log:1/14 Commit:13 Entries:[1/15 EntryNormal "six_66"]

        stabilize 2 3 log-level=none
        ----

        campaign 2
        ----

        stabilize 2 3 log-level=none
        ----

        propose 2 ten_bytes_
        ----

        propose 2 x
        ----
        raft proposal dropped
        """)
}
