// Layout (PKWARE APPNOTE 6.3):
//   end of central directory "PK\5\6": entries u16 @10, directory size u32 @12, offset u32 @16,
//   comment u16 @20 ZIP64 locator "PK\6\7" before it: offset of the ZIP64 end record "PK\6\6"
//   (entries u64 @32, size @40, offset @48) central header "PK\1\2": flags @8, method @10, packed
//   u32 @20, size u32 @24, name @28, extra @30, comment @32,
//     local offset u32 @42; extra field 1 holds the u64 values of those that are 0xFFFFFFFF, in
//     this order: size, packed, offset
//   local header "PK\3\4": name length @26, extra length @28, data behind them
#include "formats/containers/zip.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {

Bytes OffsetReader::part(std::uint64_t offset, std::uint64_t size) const {
  const auto end = checked_add(offset, size);
  if (!end || *end > file_.size()) {
    bad(offset, fmt::format("{} bytes", size),
        fmt::format("the end of the file at {}", file_.size()));
  }
  return file_.subspan(offset, size);
}

std::string_view OffsetReader::text(std::uint64_t offset, std::uint64_t size) const {
  const Bytes bytes = part(offset, size);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void OffsetReader::bad(std::uint64_t offset, std::string_view expected, std::string_view found,
                       std::string hint) const {
  fail(ErrorKind::kInput, operation_,
       fmt::format("expected {}, found {} ({}, offset {})", expected, found, source_, offset),
       std::move(hint));
}

namespace {

constexpr std::uint64_t kEndSize = 22;
constexpr std::uint32_t kFull = 0xFFFFFFFF;

struct Directory {
  std::uint64_t entries = 0, size = 0, offset = 0;
};

struct Member {
  std::uint64_t header = 0;
  ZipMember stored;
};

Directory find_directory(const OffsetReader& in) {
  if (in.size() < kEndSize) in.bad(0, "a zip archive", fmt::format("{} bytes", in.size()));
  const std::uint64_t lowest = in.size() - std::min<std::uint64_t>(in.size(), kEndSize + 0xFFFF);
  for (std::uint64_t at = in.size() - kEndSize;; --at) {
    if (in.at<std::uint32_t>(at) == 0x06054b50 &&
        at + kEndSize + in.at<std::uint16_t>(at + 20) == in.size()) {
      Directory out{in.at<std::uint16_t>(at + 10), in.at<std::uint32_t>(at + 12),
                    in.at<std::uint32_t>(at + 16)};
      if (at >= 20 && in.at<std::uint32_t>(at - 20) == 0x07064b50) {
        const auto end = in.at<std::uint64_t>(at - 12);
        if (in.at<std::uint32_t>(end) != 0x06064b50)
          in.bad(end, "a ZIP64 end record", "other bytes");
        (void)in.part(end, 56);
        out = {in.at<std::uint64_t>(end + 32), in.at<std::uint64_t>(end + 40),
               in.at<std::uint64_t>(end + 48)};
      }
      (void)in.part(out.offset, out.size);
      return out;
    }
    if (at == lowest) break;
  }
  in.bad(in.size() - kEndSize, "the end record of a zip archive", "none");
}

/// The 64-bit values of extra field 1, in their order.
std::vector<std::uint64_t> zip64_values(const OffsetReader& in, std::uint64_t offset,
                                        std::uint64_t size) {
  std::vector<std::uint64_t> values;
  const std::uint64_t end = offset + size;
  while (offset + 4 <= end) {
    const auto id = in.at<std::uint16_t>(offset);
    const std::uint64_t length = in.at<std::uint16_t>(offset + 2);
    if (offset + 4 + length > end)
      in.bad(offset, "an extra field inside its header", fmt::format("{} bytes", length));
    if (id == 1) {
      for (std::uint64_t i = 0; i + 8 <= length; i += 8)
        values.push_back(in.at<std::uint64_t>(offset + 4 + i));
    }
    offset += 4 + length;
  }
  return values;
}

Member read_member(const OffsetReader& in, std::uint64_t at, std::uint64_t& next) {
  if (in.at<std::uint32_t>(at) != 0x02014b50)
    in.bad(at, "a central directory header", "other bytes");
  (void)in.part(at, 46);
  const std::uint64_t name = in.at<std::uint16_t>(at + 28), extra = in.at<std::uint16_t>(at + 30);
  next = at + 46 + name + extra + in.at<std::uint16_t>(at + 32);
  Member member;
  member.stored.name = std::string(in.text(at + 46, name));
  if ((in.at<std::uint16_t>(at + 8) & 1U) != 0)
    in.bad(at, "a member that is not encrypted", printable(member.stored.name));
  if (const auto method = in.at<std::uint16_t>(at + 10); method != 0) {
    in.bad(at, "stored members (numpy.savez, not savez_compressed)",
           fmt::format("method {}", method));
  }
  std::uint64_t packed = in.at<std::uint32_t>(at + 20), size = in.at<std::uint32_t>(at + 24);
  std::uint64_t local = in.at<std::uint32_t>(at + 42);
  const auto wide = zip64_values(in, at + 46 + name, extra);
  std::size_t used = 0;
  for (std::uint64_t* value : {&size, &packed, &local}) {
    if (*value != kFull) continue;
    if (used == wide.size()) in.bad(at, "a ZIP64 size", "none");
    *value = wide[used++];
  }
  if (packed != size) in.bad(at, fmt::format("{} stored bytes", size), std::to_string(packed));
  if (in.at<std::uint32_t>(local) != 0x04034b50) in.bad(local, "a local header", "other bytes");
  member.header = local;
  member.stored.offset =
      local + 30 + in.at<std::uint16_t>(local + 26) + in.at<std::uint16_t>(local + 28);
  member.stored.data = in.part(member.stored.offset, size);
  return member;
}

}  // namespace

std::vector<ZipMember> parse_zip(const OffsetReader& in) {
  const Directory directory = find_directory(in);
  if (directory.entries > directory.size / 46) {
    in.bad(directory.offset, "a directory that holds its entries",
           fmt::format("{} entries in {} bytes", directory.entries, directory.size));
  }
  std::vector<Member> members;
  std::set<std::string> names;
  std::uint64_t at = directory.offset;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    members.push_back(read_member(in, at, at));
    if (!names.insert(members.back().stored.name).second)
      in.bad(at, "one member of a name", printable(members.back().stored.name) + " twice");
  }
  std::ranges::sort(members, {}, &Member::header);
  for (std::size_t i = 1; i < members.size(); ++i) {
    const ZipMember& before = members[i - 1].stored;
    if (before.offset + before.data.size() > members[i].header) {
      in.bad(members[i].header, "members that do not overlap", printable(members[i].stored.name));
    }
  }
  std::vector<ZipMember> stored;
  stored.reserve(members.size());
  for (Member& member : members) stored.push_back(std::move(member.stored));
  return stored;
}

}  // namespace lancet
