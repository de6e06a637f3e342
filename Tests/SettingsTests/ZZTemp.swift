import Foundation
import Settings
import Testing
@Test func zzWrite() throws {
    try SettingsPrinter.example.write(toFile: "/work/main/Config/posthouse.toml", atomically: true, encoding: .utf8)
    try SettingsPrinter.reference.write(toFile: "/work/main/Docs/Settings.md", atomically: true, encoding: .utf8)
}
