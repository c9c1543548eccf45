#pragma once
// A large file written once, front to back, faster than through the page cache: aligned blocks with
// O_DIRECT where the file system has it, by two threads of their own. Like AtomicFile it appears
// complete at commit() or not at all.

#include <cstdint>
#include <memory>

#include "core/bytes.h"
#include "core/file.h"

namespace lancet {

class StreamFile {
 public:
  explicit StreamFile(fs::path path);
  /// Made in `part` beside it, whose first `have` bytes stand already. What has gone to disk stays
  /// there without a commit, for a later run to go on with.
  StreamFile(fs::path path, fs::path part, std::uint64_t have);
  ~StreamFile();
  StreamFile(const StreamFile&) = delete;
  StreamFile& operator=(const StreamFile&) = delete;

  /// Reserves disk space for `size` bytes now, so that a full disk is met before the work.
  void reserve(std::uint64_t size);
  /// Copies the bytes; errors of earlier writes may be thrown here (kResource).
  void write(Bytes bytes);
  void commit();

  /// From this size on it is the faster way.
  static constexpr std::uint64_t kWorthwhile = 64ULL << 20;
  /// Memory held for blocks under way.
  static constexpr std::uint64_t kMemory = 16ULL << 20;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet
