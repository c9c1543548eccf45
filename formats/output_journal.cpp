#include "formats/output_journal.h"

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
#include "core/log.h"
#include "core/temporary.h"

namespace lancet {
namespace {

constexpr std::string_view kJournal = "journal.json";
constexpr std::string_view kDone = ".done";
constexpr std::string_view kPart = ".part";  ///< of resume_tensor_file()

/// The input as it was named.
Json named(const Json& input, std::size_t i) {
  return input.value("model", input.value("path", Json(i)));
}

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
      if (a != b) out.push_back(fmt::format("input {}", named(b.is_null() ? a : b, i).dump()));
    }
  }
  return out;
}

}  // namespace

fs::path OutputJournal::place(std::string_view operation, const fs::path& out) {
  const fs::path path = temporary::named_path(out);
  return path.parent_path() / fmt::format(".{}.lancet-{}", path.filename().string(), operation);
}

OutputJournal::OutputJournal(std::string_view operation, const fs::path& out, const Json& identity,
                             JournalOptions options)
    : operation_(operation),
      final_(temporary::named_path(out)),
      path_(place(operation, out)),
      shared_(options.shared) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) temporary::fail_write(path_, error.value(), "create");
  open();
  try {
    check(identity, options.restart);
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

OutputJournal::~OutputJournal() {
  std::error_code ignored;
  if (!shared_ && !committed_ && !has_finished()) fs::remove_all(path_, ignored);
  ::close(lock_);
}

bool OutputJournal::has_finished() const {
  std::error_code error;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.ends_with(kPart)) return true;
    if (name.ends_with(kDone) && finished(name.substr(0, name.size() - kDone.size()))) return true;
  }
  return false;
}

std::uint64_t OutputJournal::held_bytes() const {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error)) {
    struct stat info {};
    if (::lstat(it->path().c_str(), &info) == 0)
      bytes += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

void OutputJournal::open() {
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (lock_ < 0) temporary::fail_write(path_, errno, "open");
  if (::flock(lock_, (shared_ ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(std::exchange(lock_, -1));
  fail(ErrorKind::kResource, operation_,
       fmt::format("another process is writing {}", temporary::shown(final_)),
       "wait for it, or give another output");
}

void OutputJournal::check(const Json& identity, bool restart) {
  const fs::path journal = path_ / kJournal;
  std::error_code ignored;
  if (fs::exists(journal, ignored)) {
    Json before;
    try {
      before = read_json(journal);
    } catch (const Error&) {
      before = Json::object();  // torn: as good as another command's
    }
    const bool same = before == identity;
    if (same && (!restart || shared_)) return;
    if (!same && !restart && (shared_ || has_finished())) {
      fail(ErrorKind::kMismatch, operation_,
           fmt::format("an interrupted {} of {} was begun with another {}", operation_,
                       temporary::shown(final_), fmt::join(differences(before, identity), ", ")),
           "--restart throws away what it finished");
    }
  }
  for (const auto& entry : fs::directory_iterator(path_, ignored))
    fs::remove_all(entry.path(), ignored);
  write_file(journal, dump_json(identity, 1) + "\n");
}

std::optional<WrittenFile> OutputJournal::finished(const std::string& name) const {
  const fs::path done = path_ / (name + std::string(kDone));
  std::error_code error;
  if (!fs::exists(done, error)) return std::nullopt;
  try {
    const Json record = read_json(done);
    const auto bytes = static_cast<std::uint64_t>(json_int(record, "bytes", done.string()));
    if (fs::file_size(path_ / name, error) != bytes || error) return std::nullopt;
    return WrittenFile{path_ / name, bytes, json_string(record, "sha256", done.string())};
  } catch (const Error&) {
    return std::nullopt;  // damaged: as good as none
  }
}

bool OutputJournal::is_intact(const WrittenFile& file) {
  return sha256_file(file.path) == file.sha256;
}

void OutputJournal::record(const WrittenFile& file) const {
  write_file(path_ / (file.path.filename().string() + std::string(kDone)),
             dump_json(Json{{"bytes", file.bytes}, {"sha256", file.sha256}}) + "\n");
}

WrittenFile OutputJournal::make(const std::string& name,
                                const std::function<WrittenFile(const fs::path&)>& write) {
  if (const auto done = finished(name)) {
    if (is_intact(*done)) {
      resumed_ += done->bytes;
      return *done;
    }
    log::warn(fmt::format("the finished file {} has changed since it was written", name));
  }
  WrittenFile file = write(path_ / name);
  record(file);
  return file;
}

void OutputJournal::close() {
  std::vector<fs::path> own;
  for (const auto& entry : fs::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (name == kJournal || name.ends_with(kDone) || name.ends_with(".tmp") ||
        name.ends_with(".marks"))
      own.push_back(entry.path());
  }
  for (const fs::path& path : own) fs::remove(path);
}

void OutputJournal::commit(bool replace) {
  temporary::commit_directory(path_, final_, replace);
  committed_ = true;
}

void OutputJournal::commit_file(const std::string& name) {
  if (::rename((path_ / name).c_str(), final_.c_str()) != 0)
    temporary::fail_write(final_, errno, "rename");
  temporary::sync_parent(final_);
  discard();
}

void OutputJournal::discard() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  committed_ = true;
}

}  // namespace lancet
