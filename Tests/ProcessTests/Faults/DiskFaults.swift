// DiskFaults.swift - disks that are slow, hang, are full, or fail a sync.
//
// Method    slow.c is loaded by every node of the story; fault.c, which fails one sync as badly as
//           a disk may, by a start of its own; a full disk is a file system in memory, to which the
//           node's directory moves.

import Foundation
import Testing

extension FaultStory {
    func harmDisk(_ fault: Fault) throws {
        switch fault {
        case .slowDiskLeader, .slowDiskFollower:
            let disk = self.disks[try self.choose(leads: fault == .slowDiskLeader)]
            try disk.use(syncs: .milliseconds(300), writes: .milliseconds(0))
            defer { disk.mendOrSay() }
            try self.outlast("slow")
        case .hungDiskLeader, .hungDiskFollower:
            let disk = self.disks[try self.choose(leads: fault == .hungDiskLeader)]
            try disk.use(syncs: .forEver, writes: .forEver)
            defer { disk.mendOrSay() }
            try self.outlast("hung")
        case .fullDiskLeader, .fullDiskFollower:
            try self.fill(leads: fault == .fullDiskLeader)
        case .syncErrorKept, .syncErrorWiped: try self.failSync(wipes: fault == .syncErrorWiped)
        case _: throw Failure("\(fault) is of another kind")
        }
    }

    /// Moves a node's directory to a disk of that size for a while; it leads, or does not.
    private func fill(leads: Bool) throws {
        let place = try self.choose(leads: false)
        let node = self.fleet.nodes[place]
        let home = node.folder.path + "/data"
        let disk = try SmallDisk(megabytes: 1800)
        try self.restart(place) { settings in
            try FileManager.default.copyItem(atPath: home, toPath: disk.path + "/data")
            settings.data = disk.path + "/data"
        }
        if leads { try self.order(self.fleet.nodes[place], "transfer-leader", Fleet.names[place]) }
        #expect(try (self.leader() == place) == leads)
        self.step("moved")
        self.watchAgain(victims: [place])
        try disk.fill()
        self.step("filled")
        let isSaid = eventually(within: Self.patience) {
            self.clients.watches[place].refusals.contains { $0.hasPrefix("452") }
        }
        #expect(isSaid, "a node whose disk is full does not say so: \(self.fleet.story)")
        self.step("452")
        try self.expectMail("full")
        try disk.empty()
        let accepted = self.clients.promises.with { $0.watches[place].lastAt }
        let isBack = eventually(within: Self.patience) {
            self.clients.promises.with { $0.watches[place].lastAt } > accepted
        }
        #expect(isBack, "a node whose disk has room again takes no mail: \(self.fleet.story)")
        self.step("freed")
        try self.fleet.waitUntilHealthy()
        // The way back is a restart, not part of what is watched.
        if !leads { self.expectUnnoticed(.fullDiskFollower) }
        self.endWatch()
        try self.restart(place) { settings in
            try FileManager.default.removeItem(atPath: home)
            try FileManager.default.copyItem(atPath: disk.path + "/data", toPath: home)
            settings.data = nil
        }
    }

    private static let patience = Fleet.patience

    /// The process ends with 70; Docs/Operations.md says what to do then.
    private func failSync(wipes: Bool) throws {
        let place = try self.choose(leads: self.draw(below: 2) == 0)
        let node = self.fleet.nodes[place]
        let folder = try Folder()
        // Behind what a start syncs in segments that are in use; what it catches up may reach it.
        let fault = DiskFault(
            call: .sync, at: 100 + self.draw(below: 100), path: ".seg", code: EIO, isOnce: true)
        let usual = node.settings.environment
        let library = try compiledLibrary("faults/fault.c", in: folder)
        #expect(try node.stop(seconds: 30).status == 0)
        node.settings.environment = fault.environment(library)
        defer { node.settings.environment = usual }
        let process = try node.launch()
        self.step("armed")
        let ended = try process.wait(seconds: Self.patience)
        #expect(ended.status == 70, "\(ended.errorText.suffix(2000))")
        self.step("ended")
        // Forgets the process, which has ended.
        node.kill()
        try self.expectMail("without it")
        if wipes { try FileManager.default.removeItem(atPath: node.folder.path + "/data") }
        node.settings.environment = usual
        try node.start()
    }
}

extension SlowDisk {
    /// For the end of a fault, which may be its failure.
    func mendOrSay() {
        do {
            try self.mend()
        } catch {
            print("cannot mend a disk: \(error)")
        }
    }
}
