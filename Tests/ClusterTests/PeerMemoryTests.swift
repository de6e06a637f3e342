import Cluster
import Primitives
import Testing

@Suite("Memory of peers' disks")
struct PeerMemoryTests {
    private func disk(
        _ incarnation: UInt64 = 3, boot: UInt64 = 2, term: UInt64 = 4, index: UInt64 = 90
    ) -> PeerMemory.Shown {
        PeerMemory.Shown(
            incarnation: Incarnation(raw: incarnation), boot: boot, term: term, index: index)
    }

    private func expect(
        _ memory: inout PeerMemory, _ disk: PeerMemory.Shown, isLetIn: Bool = true,
        _ location: SourceLocation = #_sourceLocation
    ) {
        let isIn = memory.meet(disk)
        #expect(isIn == isLetIn, sourceLocation: location)
    }

    /// It was let in and has acknowledged 90, of which 80 are committed.
    private func met() -> PeerMemory {
        var memory = PeerMemory()
        self.expect(&memory, self.disk())
        memory.acknowledged(Incarnation(raw: 3), index: 90, term: 4, commit: 80)
        return memory
    }

    @Test func `the same disk comes back, with more or as it was`() {
        var memory = self.met()
        self.expect(&memory, self.disk())
        self.expect(&memory, self.disk(boot: 3, term: 6, index: 95))
        #expect(memory.shown(by: Incarnation(raw: 3)) == self.disk(boot: 3, term: 6, index: 80))
        #expect(memory.refused == 0)
    }

    @Test func `a disk with fewer starts, an older term or less than it acknowledged is refused`() {
        for back in [
            self.disk(boot: 1), self.disk(term: 3), self.disk(index: 79),
            // More of one makes up for less of no other.
            self.disk(boot: 9, term: 3), self.disk(boot: 9, term: 9, index: 79),
            self.disk(boot: 1, term: 9, index: 200),
        ] {
            var memory = self.met()
            self.expect(&memory, back, isLetIn: false)
            #expect(memory.refused == 1)
            // What is refused teaches nothing.
            #expect(memory.shown(by: Incarnation(raw: 3)) == self.disk(index: 80))
        }
    }

    @Test func `a log that lost its uncommitted end to another leader is no rollback`() {
        var memory = self.met()
        self.expect(&memory, self.disk(boot: 3, term: 5, index: 80))
        self.expect(&memory, self.disk(boot: 3, term: 5, index: 85))
        self.expect(&memory, self.disk(boot: 4, term: 5, index: 82))
    }

    @Test func `one start in two processes is a copied disk, and no process is behind itself`() {
        var memory = PeerMemory()
        var disk = self.disk()
        disk.process = 7
        self.expect(&memory, disk)
        memory.acknowledged(Incarnation(raw: 3), index: 95, term: 5, commit: 95)
        // The Hello of its other link was under way meanwhile.
        self.expect(&memory, disk)
        disk.process = 8
        disk.term = 5
        disk.index = 95
        self.expect(&memory, disk, isLetIn: false)
        disk.boot = 3
        self.expect(&memory, disk)
        // What comes late from the earlier one.
        disk.process = 7
        disk.boot = 2
        self.expect(&memory, disk, isLetIn: false)
    }

    @Test func `a wiped disk is another one`() {
        var memory = self.met()
        self.expect(&memory, self.disk(30, boot: 1, term: 0, index: 0))
        // The old one is judged as before, should it come back.
        self.expect(&memory, self.disk(boot: 1), isLetIn: false)
    }

    @Test func `beyond the limit whoever was heard longest ago is forgotten`() {
        var memory = PeerMemory()
        for i in 1...PeerMemory.incarnationsMax { self.expect(&memory, self.disk(UInt64(100 + i))) }
        memory.acknowledged(Incarnation(raw: 101), index: 5, term: 4, commit: 9)
        #expect(memory.shown(by: Incarnation(raw: 102)) != nil)
        self.expect(&memory, self.disk(9))
        #expect(memory.shown(by: Incarnation(raw: 102)) == nil)
        #expect(memory.shown(by: Incarnation(raw: 101))?.index == 5)
    }
}
