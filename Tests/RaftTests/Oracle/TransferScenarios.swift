// TransferScenarios.swift - our scenarios: the leadership is handed over.

extension OwnScenario {
    static let transfer = Self(
        "at once, later, through a follower, in vain",
        """
        # The leadership is handed over: at once to a follower that has everything, else when it
        # has.
        log-level none
        ----

        add-nodes 4 voters=(1,2,3) learners=(4) index=10
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        # To itself, to a learner, to nobody: nothing happens.
        transfer-leadership from=1 to=1
        ----

        transfer-leadership from=1 to=4
        ----

        transfer-leadership from=1 to=9
        ----

        process-ready 1
        ----
        <empty Ready>

        # A follower hands the request on, in the name of the member that shall lead.
        transfer-leadership from=2 to=3
        ----

        process-ready 2
        ----
        Ready MustSync=false:
        Messages:
        3->1 MsgTransferLeader Term:1 Log:0/0

        # 3 lacks an entry when the leader takes the request.
        propose 1 behind
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Entries:
        1/12 EntryNormal "behind"
        Messages:
        1->2 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "behind"]
        1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "behind"]
        1->4 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "behind"]

        deliver-msgs 1
        ----
        3->1 MsgTransferLeader Term:1 Log:0/0

        # The leader takes no proposals while it hands over.
        propose 1 refused
        ----
        raft proposal dropped

        propose-conf-change 1
        r2
        ----
        raft proposal dropped

        # The same request again changes nothing, another one takes its place.
        transfer-leadership from=1 to=3
        ----

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->3 MsgApp Term:1 Log:1/12 Commit:11

        stabilize 1 3
        ----
        > 3 receiving messages
          1->3 MsgApp Term:1 Log:1/11 Commit:11 Entries:[1/12 EntryNormal "behind"]
          1->3 MsgApp Term:1 Log:1/12 Commit:11
        > 3 handling Ready
          Ready MustSync=true:
          Entries:
          1/12 EntryNormal "behind"
          Messages:
          3->1 MsgAppResp Term:1 Log:0/12
          3->1 MsgAppResp Term:1 Log:0/12
        > 1 receiving messages
          3->1 MsgAppResp Term:1 Log:0/12
          3->1 MsgAppResp Term:1 Log:0/12
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:1 Vote:1 Commit:12
          CommittedEntries:
          1/12 EntryNormal "behind"
          Messages:
          1->2 MsgApp Term:1 Log:1/12 Commit:12
          1->3 MsgApp Term:1 Log:1/12 Commit:12
          1->4 MsgApp Term:1 Log:1/12 Commit:12
          1->3 MsgTimeoutNow Term:1 Log:0/0
        > 3 receiving messages
          1->3 MsgApp Term:1 Log:1/12 Commit:12
          1->3 MsgTimeoutNow Term:1 Log:0/0
        > 3 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateCandidate
          HardState Term:2 Vote:3 Commit:12
          CommittedEntries:
          1/12 EntryNormal "behind"
          Messages:
          3->1 MsgVote Term:2 Log:1/12
          3->2 MsgVote Term:2 Log:1/12
          3->1 MsgAppResp Term:1 Log:0/12
        > 1 receiving messages
          3->1 MsgVote Term:2 Log:1/12
          3->1 MsgAppResp Term:1 Log:0/12
        > 1 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:2 Vote:3 Commit:12
          Messages:
          1->3 MsgVoteResp Term:2 Log:0/0
        > 3 receiving messages
          1->3 MsgVoteResp Term:2 Log:0/0
        > 3 handling Ready
          Ready MustSync=true:
          Lead:3 State:StateLeader
          Entries:
          2/13 EntryNormal ""
          Messages:
          3->1 MsgApp Term:2 Log:1/12 Commit:12 Entries:[2/13 EntryNormal ""]
          3->2 MsgApp Term:2 Log:1/12 Commit:12 Entries:[2/13 EntryNormal ""]
          3->4 MsgApp Term:2 Log:1/12 Commit:12 Entries:[2/13 EntryNormal ""]
        > 1 receiving messages
          3->1 MsgApp Term:2 Log:1/12 Commit:12 Entries:[2/13 EntryNormal ""]
        > 1 handling Ready
          Ready MustSync=true:
          Lead:3 State:StateFollower
          Entries:
          2/13 EntryNormal ""
          Messages:
          1->3 MsgAppResp Term:2 Log:0/13
        > 3 receiving messages
          1->3 MsgAppResp Term:2 Log:0/13
        > 3 handling Ready
          Ready MustSync=false:
          HardState Term:2 Vote:3 Commit:13
          CommittedEntries:
          2/13 EntryNormal ""
          Messages:
          3->1 MsgApp Term:2 Log:2/13 Commit:13
        > 1 receiving messages
          3->1 MsgApp Term:2 Log:2/13 Commit:13
        > 1 handling Ready
          Ready MustSync=false:
          HardState Term:2 Vote:3 Commit:13
          CommittedEntries:
          2/13 EntryNormal ""
          Messages:
          1->3 MsgAppResp Term:2 Log:0/13
        > 3 receiving messages
          1->3 MsgAppResp Term:2 Log:0/13

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StateFollower (Voter) Term:2 Lead:3
        3: StateLeader (Voter) Term:2 Lead:3
        4: StateFollower (Non-Voter) Term:2 Lead:3

        # A transfer to a member that does not answer ends an election timeout after it has begun.
        log-level none
        ----

        tick-heartbeat 3
        ----

        tick-heartbeat 3
        ----

        stabilize
        ----

        log-level info
        ----

        transfer-leadership from=3 to=2
        ----

        process-ready 3
        ----
        Ready MustSync=false:
        Messages:
        3->2 MsgTimeoutNow Term:2 Log:0/0

        deliver-msgs drop=(2)
        ----
        dropped: 3->2 MsgTimeoutNow Term:2 Log:0/0

        tick-heartbeat 3
        ----

        tick-heartbeat 3
        ----

        propose 3 refused
        ----
        raft proposal dropped

        tick-heartbeat 3
        ----

        propose 3 taken
        ----

        log-level none
        ----

        process-ready 3
        ----

        deliver-msgs drop=(1,2,4)
        ----

        # A request that comes to a member that knows no leader goes nowhere.
        set-randomized-election-timeout 2 timeout=3
        ----

        tick-election 2
        ----

        log-level info
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:3
        2: StateCandidate (Voter) Term:3 Lead:0
        3: StateLeader (Voter) Term:2 Lead:3
        4: StateFollower (Non-Voter) Term:2 Lead:3

        transfer-leadership from=2 to=1
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:3 Vote:2 Commit:13
        Messages:
        2->1 MsgVote Term:3 Log:2/13
        2->3 MsgVote Term:3 Log:2/13
        """)

    static let transferWithQuorum = Self(
        "past members that hear their leader",
        """
        # With the check of the quorum, members that hear their leader vote for nobody else,
        # except where the leader itself asks for the election. The member that shall lead does
        # not ask first.
        log-level none
        ----

        add-nodes 3 voters=(1,2,3) index=10 prevote=true checkquorum=true
        ----

        campaign 1
        ----

        stabilize
        ----

        log-level info
        ----

        transfer-leadership from=1 to=2
        ----

        process-ready 1
        ----
        Ready MustSync=false:
        Messages:
        1->2 MsgTimeoutNow Term:1 Log:0/0

        deliver-msgs 2
        ----
        1->2 MsgTimeoutNow Term:1 Log:0/0

        process-ready 2
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:2 Vote:2 Commit:11
        Messages:
        2->1 MsgVote Term:2 Log:1/11
        2->3 MsgVote Term:2 Log:1/11

        deliver-msgs 1 3
        ----
        2->1 MsgVote Term:2 Log:1/11
        2->3 MsgVote Term:2 Log:1/11

        process-ready 1 3
        ----
        > 1 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:2 Vote:2 Commit:11
          Messages:
          1->2 MsgVoteResp Term:2 Log:0/0
        > 3 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:2 Vote:2 Commit:11
          Messages:
          3->2 MsgVoteResp Term:2 Log:0/0

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:2
        2: StateLeader (Voter) Term:2 Lead:2
        3: StateFollower (Voter) Term:2 Lead:2
        """)
}
