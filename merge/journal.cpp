#include "merge/journal.h"

#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/temporary.h"

namespace lancet {
namespace {

constexpr std::string_view kJournal = "journal.json";
constexpr std::string_view kDone = ".done";

/// The members in which two identities differ, in words: "recipe", "input 'x' (file
/// model.safetensors)".
std::vector<std::string> differences(const Json& before, const Json& now) {
  std::vector<std::string> out;
  for (const auto& [key, value] : now.items()) {
    const Json old = before.value(key, Json());
    if (old == value) continue;
    if (key != "inputs" || !old.is_array()) {
      const bool brief = value.dump().size() < 60 && old.dump().size() < 60;
      out.push_back(brief ? fmt::format("{} (was {}, is {})", key, old.dump(), value.dump()) : key);
      continue;
    }
    for (std::size_t i = 0; i < std::max(value.size(), old.size()); ++i) {
      const Json a = i < old.size() ? old[i] : Json(), b = i < value.size() ? value[i] : Json();
      if (a != b)
        out.push_back(
            fmt::format("input {}", (b.is_null() ? a : b).value("model", Json(i)).dump()));
    }
  }
  return out;
}

}  // namespace

fs::path MergeJournal::place(const fs::path& out) {
  const fs::path path = temporary::named_path(out);
  return path.parent_path() / fmt::format(".{}.lancet-merge", path.filename().string());
}

MergeJournal::MergeJournal(const fs::path& out, const Json& identity, bool shared, bool restart)
    : final_(temporary::named_path(out)), path_(place(out)), shared_(shared) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) temporary::fail_write(path_, error.value(), "create");
  open();
  try {
    check(identity, restart);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

MergeJournal::~MergeJournal() {
  std::error_code ignored;
  if (!shared_ && !committed_ && !has_finished()) fs::remove_all(path_, ignored);
  ::close(lock_);
}

bool MergeJournal::has_finished() const {
  std::error_code error;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    if (it->path().string().ends_with(kDone)) return true;
  }
  return false;
}

void MergeJournal::open() {
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (lock_ < 0) temporary::fail_write(path_, errno, "open");
  if (::flock(lock_, (shared_ ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(std::exchange(lock_, -1));
  fail(ErrorKind::kResource, "merge",
       fmt::format("another process is merging into {}", temporary::shown(final_)),
       "wait for it, or give another output");
}

void MergeJournal::check(const Json& identity, bool restart) {
  const fs::path journal = path_ / kJournal;
  std::error_code ignored;
  if (fs::exists(journal, ignored)) {
    Json before;
    try {
      before = read_json(journal);
    } catch (const Error&) {
      before = Json::object();  // torn: as good as another merge
    }
    if (before == identity) return;
    if (!restart) {
      fail(ErrorKind::kMismatch, "merge",
           fmt::format("an interrupted merge into {} was begun with another {}",
                       temporary::shown(final_), fmt::join(differences(before, identity), ", ")),
           "--restart throws its finished shards away");
    }
  }
  for (const auto& entry : fs::directory_iterator(path_, ignored))
    fs::remove_all(entry.path(), ignored);
  write_file(journal, dump_json(identity, 1) + "\n");
}

std::optional<WrittenFile> MergeJournal::finished(const std::string& shard) const {
  const fs::path done = path_ / (shard + std::string(kDone));
  std::error_code error;
  if (!fs::exists(done, error)) return std::nullopt;
  const Json record = read_json(done);
  const auto bytes = static_cast<std::uint64_t>(json_int(record, "bytes", done.string()));
  if (fs::file_size(path_ / shard, error) != bytes || error) return std::nullopt;
  return WrittenFile{path_ / shard, bytes, json_string(record, "sha256", done.string())};
}

bool MergeJournal::is_intact(const WrittenFile& file) {
  return sha256_file(file.path) == file.sha256;
}

void MergeJournal::record(const WrittenFile& file) const {
  write_file(path_ / (file.path.filename().string() + std::string(kDone)),
             dump_json(Json{{"bytes", file.bytes}, {"sha256", file.sha256}}) + "\n");
}

void MergeJournal::close() {
  std::vector<fs::path> own;
  for (const auto& entry : fs::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (name == kJournal || name.ends_with(kDone) || name.ends_with(".tmp"))
      own.push_back(entry.path());
  }
  for (const fs::path& path : own) fs::remove(path);
}

void MergeJournal::commit(bool replace) {
  temporary::commit_directory(path_, final_, replace);
  committed_ = true;
}

}  // namespace lancet
