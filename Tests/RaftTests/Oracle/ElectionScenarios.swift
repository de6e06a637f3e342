// ElectionScenarios.swift - our scenarios: elections and votes.

extension OwnScenario {
    static let split = Self(
        "votes that are split, lost and late",
        """
        # Votes that are split, lost and late, and candidates and leaders of past terms.
        add-nodes 4 voters=(1,2,3,4) index=10
        ----

        # 4 votes for 2 and 3 for 1: both have two of four.
        campaign 2
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:1 Vote:2 Commit:10
        Messages:
        2->1 MsgVote Term:1 Log:1/10
        2->3 MsgVote Term:1 Log:1/10
        2->4 MsgVote Term:1 Log:1/10

        deliver-msgs 4 drop=(3)
        ----
        2->4 MsgVote Term:1 Log:1/10
        dropped: 2->3 MsgVote Term:1 Log:1/10

        campaign 1
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:1 Vote:1 Commit:10
        Messages:
        1->2 MsgVote Term:1 Log:1/10
        1->3 MsgVote Term:1 Log:1/10
        1->4 MsgVote Term:1 Log:1/10

        deliver-msgs 1 2 3 4
        ----
        2->1 MsgVote Term:1 Log:1/10
        1->2 MsgVote Term:1 Log:1/10
        1->3 MsgVote Term:1 Log:1/10
        1->4 MsgVote Term:1 Log:1/10

        process-ready 1 2 3 4
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgVoteResp Term:1 Log:0/0 Rejected (Hint: 0)
        > 2 handling Ready
          Ready MustSync=false:
          Messages:
          2->1 MsgVoteResp Term:1 Log:0/0 Rejected (Hint: 0)
        > 3 handling Ready
          Ready MustSync=true:
          HardState Term:1 Vote:1 Commit:10
          Messages:
          3->1 MsgVoteResp Term:1 Log:0/0
        > 4 handling Ready
          Ready MustSync=true:
          HardState Term:1 Vote:2 Commit:10
          Messages:
          4->2 MsgVoteResp Term:1 Log:0/0
          4->1 MsgVoteResp Term:1 Log:0/0 Rejected (Hint: 0)

        deliver-msgs 1 2
        ----
        2->1 MsgVoteResp Term:1 Log:0/0 Rejected (Hint: 0)
        3->1 MsgVoteResp Term:1 Log:0/0
        4->1 MsgVoteResp Term:1 Log:0/0 Rejected (Hint: 0)
        1->2 MsgVoteResp Term:1 Log:0/0 Rejected (Hint: 0)
        4->2 MsgVoteResp Term:1 Log:0/0

        # 1 has been refused by two and has lost, 2 still waits for 3.
        raft-state
        ----
        1: StateFollower (Voter) Term:1 Lead:0
        2: StateCandidate (Voter) Term:1 Lead:0
        3: StateFollower (Voter) Term:1 Lead:0
        4: StateFollower (Voter) Term:1 Lead:0

        # A candidate begins again when its time is over.
        set-randomized-election-timeout 2 timeout=3
        ----

        tick-election 2
        ----

        stabilize 1 2
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Lead:0 State:StateFollower
        > 2 handling Ready
          Ready MustSync=true:
          HardState Term:2 Vote:2 Commit:10
          Messages:
          2->1 MsgVote Term:2 Log:1/10
          2->3 MsgVote Term:2 Log:1/10
          2->4 MsgVote Term:2 Log:1/10
        > 1 receiving messages
          2->1 MsgVote Term:2 Log:1/10
        > 1 handling Ready
          Ready MustSync=true:
          HardState Term:2 Vote:2 Commit:10
          Messages:
          1->2 MsgVoteResp Term:2 Log:0/0
        > 2 receiving messages
          1->2 MsgVoteResp Term:2 Log:0/0

        # 3 votes, too, and 2 leads. 4 hears of the leader before it is asked for its vote: it
        # refuses it, though it has given none.
        stabilize 3
        ----
        > 3 receiving messages
          2->3 MsgVote Term:2 Log:1/10
        > 3 handling Ready
          Ready MustSync=true:
          HardState Term:2 Vote:2 Commit:10
          Messages:
          3->2 MsgVoteResp Term:2 Log:0/0

        stabilize 2 log-level=none
        ----

        tick-heartbeat 2
        ----

        process-ready 2
        ----
        Ready MustSync=false:
        Messages:
        2->1 MsgHeartbeat Term:2 Log:0/0
        2->3 MsgHeartbeat Term:2 Log:0/0
        2->4 MsgHeartbeat Term:2 Log:0/0

        deliver-msgs 4 type=MsgHeartbeat
        ----
        2->4 MsgHeartbeat Term:2 Log:0/0

        process-ready 4
        ----
        Ready MustSync=true:
        Lead:2 State:StateFollower
        HardState Term:2 Commit:10
        Messages:
        4->2 MsgHeartbeatResp Term:2 Log:0/0

        deliver-msgs 4 type=MsgVote
        ----
        2->4 MsgVote Term:2 Log:1/10

        process-ready 4
        ----
        Ready MustSync=false:
        Messages:
        4->2 MsgVoteResp Term:2 Log:0/0 Rejected (Hint: 0)

        stabilize log-level=none
        ----

        raft-state
        ----
        1: StateFollower (Voter) Term:2 Lead:2
        2: StateLeader (Voter) Term:2 Lead:2
        3: StateFollower (Voter) Term:2 Lead:2
        4: StateFollower (Voter) Term:2 Lead:2

        # 1 campaigns, and is not heard by 2, which goes on as leader of a past term. Nobody tells
        # it: its word is ignored.
        campaign 1
        ----

        stabilize 1 3 4 log-level=none
        ----

        deliver-msgs drop=(2)
        ----
        dropped: 1->2 MsgVote Term:3 Log:2/11
        dropped: 1->2 MsgApp Term:3 Log:2/11 Commit:11 Entries:[3/12 EntryNormal ""]

        raft-state
        ----
        1: StateLeader (Voter) Term:3 Lead:1
        2: StateLeader (Voter) Term:2 Lead:2
        3: StateFollower (Voter) Term:3 Lead:1
        4: StateFollower (Voter) Term:3 Lead:1

        propose 2 late
        ----

        process-ready 2
        ----
        Ready MustSync=true:
        Entries:
        2/12 EntryNormal "late"
        Messages:
        2->1 MsgApp Term:2 Log:2/11 Commit:11 Entries:[2/12 EntryNormal "late"]
        2->3 MsgApp Term:2 Log:2/11 Commit:11 Entries:[2/12 EntryNormal "late"]
        2->4 MsgApp Term:2 Log:2/11 Commit:11 Entries:[2/12 EntryNormal "late"]

        stabilize 1 3 4
        ----
        > 1 receiving messages
          2->1 MsgApp Term:2 Log:2/11 Commit:11 Entries:[2/12 EntryNormal "late"]
        > 3 receiving messages
          2->3 MsgApp Term:2 Log:2/11 Commit:11 Entries:[2/12 EntryNormal "late"]
        > 4 receiving messages
          2->4 MsgApp Term:2 Log:2/11 Commit:11 Entries:[2/12 EntryNormal "late"]

        # The next word of the new leader tells it, and the entry of the past term goes.
        tick-heartbeat 1
        ----

        stabilize 1 2
        ----
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgHeartbeat Term:3 Log:0/0
          1->3 MsgHeartbeat Term:3 Log:0/0 Commit:12
          1->4 MsgHeartbeat Term:3 Log:0/0 Commit:12
        > 2 receiving messages
          1->2 MsgHeartbeat Term:3 Log:0/0
        > 2 handling Ready
          Ready MustSync=true:
          Lead:1 State:StateFollower
          HardState Term:3 Commit:11
          Messages:
          2->1 MsgHeartbeatResp Term:3 Log:0/0
        > 1 receiving messages
          2->1 MsgHeartbeatResp Term:3 Log:0/0
        > 1 handling Ready
          Ready MustSync=false:
          Messages:
          1->2 MsgApp Term:3 Log:2/11 Commit:12 Entries:[3/12 EntryNormal ""]
        > 2 receiving messages
          1->2 MsgApp Term:3 Log:2/11 Commit:12 Entries:[3/12 EntryNormal ""]
        > 2 handling Ready
          Ready MustSync=true:
          HardState Term:3 Commit:12
          Entries:
          3/12 EntryNormal ""
          CommittedEntries:
          3/12 EntryNormal ""
          Messages:
          2->1 MsgAppResp Term:3 Log:0/12
        > 1 receiving messages
          2->1 MsgAppResp Term:3 Log:0/12

        raft-log 2
        ----
        2/11 EntryNormal ""
        3/12 EntryNormal ""

        # A candidate with a shorter log is refused. The leader steps down all the same: the term
        # is a new one.
        log-level none
        ----

        stabilize
        ----

        propose 1 more
        ----

        stabilize 1 2 3
        ----

        deliver-msgs drop=(4)
        ----

        log-level info
        ----

        campaign 4
        ----

        process-ready 4
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:4 Vote:4 Commit:12
        Messages:
        4->1 MsgVote Term:4 Log:3/12
        4->2 MsgVote Term:4 Log:3/12
        4->3 MsgVote Term:4 Log:3/12

        deliver-msgs 1 2 3
        ----
        4->1 MsgVote Term:4 Log:3/12
        4->2 MsgVote Term:4 Log:3/12
        4->3 MsgVote Term:4 Log:3/12

        process-ready 1 2 3
        ----
        > 1 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:4 Commit:13
          Messages:
          1->4 MsgVoteResp Term:4 Log:0/0 Rejected (Hint: 0)
        > 2 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:4 Commit:13
          Messages:
          2->4 MsgVoteResp Term:4 Log:0/0 Rejected (Hint: 0)
        > 3 handling Ready
          Ready MustSync=true:
          Lead:0 State:StateFollower
          HardState Term:4 Commit:13
          Messages:
          3->4 MsgVoteResp Term:4 Log:0/0 Rejected (Hint: 0)

        stabilize
        ----
        > 4 receiving messages
          1->4 MsgVoteResp Term:4 Log:0/0 Rejected (Hint: 0)
          2->4 MsgVoteResp Term:4 Log:0/0 Rejected (Hint: 0)
          3->4 MsgVoteResp Term:4 Log:0/0 Rejected (Hint: 0)
        > 4 handling Ready
          Ready MustSync=false:
          Lead:0 State:StateFollower

        # The term goes on: 3 has voted for nobody in it, and its time is nearly over when 1 asks.
        # Who has given a vote begins to wait anew.
        campaign 4
        ----

        process-ready 4
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:5 Vote:4 Commit:12
        Messages:
        4->1 MsgVote Term:5 Log:3/12
        4->2 MsgVote Term:5 Log:3/12
        4->3 MsgVote Term:5 Log:3/12

        deliver-msgs 3 drop=(1,2)
        ----
        4->3 MsgVote Term:5 Log:3/12
        dropped: 4->1 MsgVote Term:5 Log:3/12
        dropped: 4->2 MsgVote Term:5 Log:3/12

        set-randomized-election-timeout 3 timeout=3
        ----

        tick-heartbeat 3
        ----

        tick-heartbeat 3
        ----

        campaign 1
        ----

        process-ready 1
        ----
        Ready MustSync=true:
        Lead:0 State:StateCandidate
        HardState Term:5 Vote:1 Commit:13
        Messages:
        1->2 MsgVote Term:5 Log:3/13
        1->3 MsgVote Term:5 Log:3/13
        1->4 MsgVote Term:5 Log:3/13

        deliver-msgs 3 drop=(2,4)
        ----
        1->3 MsgVote Term:5 Log:3/13
        dropped: 1->2 MsgVote Term:5 Log:3/13
        dropped: 1->4 MsgVote Term:5 Log:3/13

        tick-heartbeat 3
        ----

        raft-state
        ----
        1: StateCandidate (Voter) Term:5 Lead:0
        2: StateFollower (Voter) Term:4 Lead:0
        3: StateFollower (Voter) Term:5 Lead:0
        4: StateCandidate (Voter) Term:5 Lead:0

        tick-heartbeat 3
        ----

        tick-heartbeat 3
        ----

        raft-state
        ----
        1: StateCandidate (Voter) Term:5 Lead:0
        2: StateFollower (Voter) Term:4 Lead:0
        3: StateCandidate (Voter) Term:6 Lead:0
        4: StateCandidate (Voter) Term:5 Lead:0
        """)
}
