// FoundingWait.swift - what a node that has no working cluster yet waits for, for its operator.
//
// Gives     one sentence, said every `Founding.sayInterval`, that names who is missing and why.

package import Primitives

package struct FoundingWait: Hashable, Sendable {
    package enum Purpose: Hashable, Sendable {
        /// This node is the founder.
        case toFound
        /// This node is a seed; the named one is the founder.
        case forFounder(NodeName)
        /// This node is not a seed: it joins when there is a cluster.
        case forCluster
        /// Founded, but no leader yet.
        case forMajority(ClusterID)
    }

    package enum Reason: Hashable, Sendable {
        case notReached
        case otherCluster(ClusterID)
        /// Of a cluster that has no leader yet, or no way to take this node in.
        case inCluster(ClusterID)
        /// It is storing a founding record.
        case storing
        /// What its list has and ours has not, and the reverse.
        case otherSeeds(difference: String)
        /// It does not reach these seeds, or knows other disks of them.
        case seesOthers([NodeName])
        /// It has not stored the founding record.
        case notStored
        /// Its disk is not the one that the founding record names.
        case lostDisk

        package var sentence: String {
            switch self {
            case .notReached: "not reached"
            case .otherCluster(let id): "not empty, it belongs to cluster \(Base32.text(id.raw))"
            case .inCluster(let id):
                "it belongs to cluster \(Base32.text(id.raw)), which has no leader yet"
            case .storing: "not empty, it is storing a founding record"
            case .otherSeeds(let difference): "its list of seeds \(difference)"
            case .seesOthers(let names):
                "it does not reach \(names.joined(separator: ", ")) as this node does"
            case .notStored: "it has not stored the founding record"
            case .lostDisk: "its disk is not the one that was founded with"
            }
        }
    }

    package struct Missing: Hashable, Sendable {
        package var name: NodeName
        package var reason: Reason
        package init(_ name: NodeName, _ reason: Reason) {
            self.name = name
            self.reason = reason
        }
    }

    package var purpose: Purpose
    /// In the order of the seeds.
    package var missing: [Missing]
    /// So many founders have lost their disks that there can be no majority any more.
    package var isHopeless = false

    package init(_ purpose: Purpose, _ missing: [Missing], isHopeless: Bool = false) {
        self.purpose = purpose
        self.missing = missing
        self.isHopeless = isHopeless
    }

    package var sentence: String {
        let who = self.missing.map { "\($0.name) (\($0.reason.sentence))" }
            .joined(separator: ", ")
        let waits =
            switch self.purpose {
            case .toFound: "waits for all seeds to found the cluster"
            case .forFounder(let name): "waits for \(name) to found the cluster"
            case .forCluster: "waits for a cluster to join"
            case .forMajority(let id):
                "waits for a leader of cluster \(Base32.text(id.raw))"
            }
        let remedy =
            self.isHopeless
            ? ". A majority of the founders has lost its disks, so there can be no leader. If there"
                + " never was one, the cluster holds no mail: empty the data directories of all"
                + " seeds and start them again" : ""
        return who.isEmpty ? waits + remedy : "\(waits); missing: \(who)\(remedy)"
    }
}
