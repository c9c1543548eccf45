#include "distill/teacher/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/temporary.h"
#include "distill/teacher/journal_line.h"

namespace lancet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kSyncLines = 256;
constexpr auto kSyncPeriod = std::chrono::seconds(1);
constexpr std::size_t kReadBlock = 1 << 20;

/// A file of the journal, open for reading answers back.
struct Source {
  fs::path path;
  int fd = -1;
};

struct Place {
  std::uint32_t source;
  std::uint32_t length;  ///< of the JSON text
  std::uint64_t offset;
  bool good;  ///< ending ok
};

std::string read_at(const Source& source, std::uint64_t offset, std::size_t length) {
  std::string out(length, '\0');
  std::size_t done = 0;
  while (done < length) {
    const ssize_t got =
        ::pread(source.fd, out.data() + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      fail(ErrorKind::kResource, "journal", fmt::format("cannot read {}", source.path.string()));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  out.resize(done);
  return out;
}

}  // namespace

struct Journal::State {
  std::vector<Source> sources;  ///< the first is ours
  std::unordered_map<JournalKey, Place, JournalKeyHash> places;
  std::vector<JournalKey> order;
  LostSpending lost;
  TeacherUsage usage;  ///< of what was there at the start
  std::uint64_t answers = 0;
  std::string pending;       ///< lines not yet written
  std::uint64_t size = 0;    ///< of our file, with `pending`
  std::size_t unsynced = 0;  ///< lines
  Clock::time_point last_sync = Clock::now();
  std::atomic<bool> syncing = false;  ///< a slow disk is asked once at a time, not waited for
  parallel::Background syncs{2};      ///< last: its job uses the rest

  ~State() {
    for (const Source& source : sources) {
      if (source.fd >= 0) ::close(source.fd);
    }
  }

  void open_own(const fs::path& path) {
    temporary::make_parent(temporary::named_path(path));
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) temporary::fail_write(path, errno, "open");
    sources.push_back({path, fd});
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
      fail(ErrorKind::kResource, "journal",
           fmt::format("another process is writing {}", temporary::shown(path)),
           "wait for it, or give another output");
  }

  void open_other(const fs::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
      fail(ErrorKind::kInput, "journal", fmt::format("cannot read {}", temporary::shown(path)));
    sources.push_back({path, fd});
  }

  void put(const JournalKey& key, const Place& place) {
    const auto [at, is_new] = places.emplace(key, place);
    if (is_new) {
      order.push_back(key);
    } else if (!at->second.good) {
      at->second = place;
    }
  }

  void take_line(std::uint32_t source, std::uint64_t offset, std::string_view line) {
    const std::string_view text = line.substr(kSumDigits + 1);
    const Json document = parse_json(text, sources[source].path.string());
    if (const auto found = document.find("lost"); found != document.end()) {
      lost.requests += static_cast<std::uint64_t>(json_int(*found, "requests", "journal"));
      lost.tokens += static_cast<std::uint64_t>(json_int(*found, "tokens", "journal"));
      lost.usd += json_number(*found, "usd", "journal", 0);
      return;
    }
    const auto key = parse_journal_key(json_string(document, "key", "journal"));
    if (!key) fail(ErrorKind::kInput, "journal", sources[source].path.string() + ": a damaged key");
    const bool asked = document.contains("answer");
    const Json& answer = document.at(asked ? "answer" : "result");
    put(*key, {source, static_cast<std::uint32_t>(text.size()), offset + kSumDigits + 1,
               answer.value("ending", "") == "ok"});
    if (!asked) return;
    const TeacherUsage its = answer_usage(answer);
    ++answers;
    usage.prompt += its.prompt;
    usage.cached += its.cached;
    usage.completion += its.completion;
  }

  /// Reads all whole lines; returns where they end.
  std::uint64_t scan(std::uint32_t index) {
    std::string buffer;
    std::uint64_t begin = 0, at = 0, number = 0;  // begin: file offset of buffer[0]
    while (true) {
      const std::string block = read_at(sources[index], at, kReadBlock);
      at += block.size();
      buffer += block;
      std::size_t from = 0;
      for (std::size_t end; (end = buffer.find('\n', from)) != buffer.npos; from = end + 1) {
        const std::string_view line = std::string_view(buffer).substr(from, end - from);
        ++number;
        if (is_whole_line(line)) {
          take_line(index, begin + from, line);
        } else if (end + 1 == buffer.size() && block.size() < kReadBlock) {
          return begin + from;  // the last line, torn in a power cut
        } else {
          fail(ErrorKind::kInput, "journal",
               fmt::format("{}:{}: the line does not match its checksum",
                           temporary::shown(sources[index].path), number),
               "restore the file, or remove the line: its answer will be asked for again");
        }
      }
      buffer.erase(0, from);
      begin += from;
      if (block.size() < kReadBlock) return begin;
    }
  }

  void append(const std::string& hex, const TeacherAnswer& answer, const char* name) {
    const auto key = parse_journal_key(hex);
    if (!key) fail(ErrorKind::kInternal, "journal", "a request key of another form");
    if (places.contains(*key)) return;
    const std::uint64_t offset = size + kSumDigits + 1;
    push({{"key", hex}, {name, answer_json(answer)}});
    const auto length = static_cast<std::uint32_t>(size - offset - 1);
    put(*key, {0, length, offset, answer.ending == Ending::kOk});
  }

  void write_pending() {
    std::string_view rest = pending;
    while (!rest.empty()) {
      const ssize_t put = ::write(sources[0].fd, rest.data(), rest.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) temporary::fail_write(sources[0].path, errno);
      rest.remove_prefix(static_cast<std::size_t>(put));
    }
    pending.clear();
  }

  void begin_sync() {
    unsynced = 0;
    last_sync = Clock::now();
    syncing = true;
    syncs.push([this, fd = sources[0].fd, path = sources[0].path] {
      const int rc = ::fdatasync(fd);
      const int error = errno;
      syncing = false;
      if (rc != 0) temporary::fail_write(path, error, "fsync");
    });
  }

  void push(const Json& document) {
    const std::string line = journal_line(document);
    pending += line;
    size += line.size();
    ++unsynced;
  }
};

Journal::Journal(const fs::path& path, const std::vector<fs::path>& others)
    : state_(std::make_unique<State>()) {
  state_->open_own(path);
  for (const fs::path& other : others) state_->open_other(other);
  for (std::uint32_t i = 0; i < state_->sources.size(); ++i) {
    const std::uint64_t end = state_->scan(i);
    if (i > 0) continue;
    state_->size = end;
    if (::ftruncate(state_->sources[0].fd, static_cast<off_t>(end)) != 0)
      temporary::fail_write(path, errno, "truncate");
  }
}

Journal::~Journal() {
  try {
    sync();
  } catch (...) {  // a full disk has been reported by the flush that met it
  }
}

bool Journal::contains(std::string_view key) const {
  const auto parsed = parse_journal_key(key);
  return parsed && state_->places.contains(*parsed);
}

std::optional<TeacherAnswer> Journal::find(std::string_view key) const {
  const auto parsed = parse_journal_key(key);
  if (!parsed) return std::nullopt;
  const auto found = state_->places.find(*parsed);
  if (found == state_->places.end()) return std::nullopt;
  const Place& place = found->second;
  const std::uint64_t written = state_->size - state_->pending.size();
  const std::string text = place.source == 0 && place.offset >= written
                               ? state_->pending.substr(place.offset - written, place.length)
                               : read_at(state_->sources[place.source], place.offset, place.length);
  const Json document = parse_json(text, state_->sources[place.source].path.string());
  return answer_from_json(document.at(document.contains("answer") ? "answer" : "result"));
}

std::size_t Journal::size() const noexcept { return state_->places.size(); }

std::vector<std::string> Journal::keys() const {
  std::vector<std::string> out;
  for (const JournalKey& key : state_->order)
    out.push_back(fmt::format("{:016x}{:016x}{:016x}{:016x}", key[0], key[1], key[2], key[3]));
  return out;
}

TeacherUsage Journal::usage() const noexcept { return state_->usage; }

std::uint64_t Journal::answers() const noexcept { return state_->answers; }

std::size_t Journal::forget_failures() {
  const std::size_t before = state_->places.size();
  std::erase_if(state_->places, [](const auto& each) { return !each.second.good; });
  std::erase_if(state_->order,
                [this](const JournalKey& key) { return !state_->places.contains(key); });
  return before - state_->places.size();
}

LostSpending Journal::lost() const noexcept { return state_->lost; }

void Journal::add(const std::string& key, const TeacherAnswer& answer) {
  state_->append(key, answer, "answer");
}

void Journal::add_result(const std::string& key, const TeacherAnswer& result) {
  state_->append(key, result, "result");
}

void Journal::add_lost(const LostSpending& lost) {
  if (lost.requests == 0) return;
  state_->lost.requests += lost.requests;
  state_->lost.tokens += lost.tokens;
  state_->lost.usd += lost.usd;
  state_->push(
      {{"lost", {{"requests", lost.requests}, {"tokens", lost.tokens}, {"usd", lost.usd}}}});
}

void Journal::flush() {
  if (!state_->pending.empty()) state_->write_pending();
  const bool due = state_->unsynced >= kSyncLines ||
                   (state_->unsynced > 0 && Clock::now() - state_->last_sync >= kSyncPeriod);
  if (due && !state_->syncing) state_->begin_sync();
}

void Journal::sync() {
  flush();
  if (state_->unsynced > 0) state_->begin_sync();
  state_->syncs.wait();
}

}  // namespace lancet
