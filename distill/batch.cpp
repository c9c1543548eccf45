#include "distill/batch.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/text.h"
#include "distill/teacher/parse.h"
#include "distill/teacher/retry.h"

namespace lancet {
namespace {

constexpr std::uint64_t kFileLimit = 4ULL << 30;

/// Calls `each(line, "FILE:n")` for lines that are not blank.
template <typename Each>
void for_lines(const fs::path& path, const Each& each) {
  const std::string text = read_file(path, kFileLimit);
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const std::string where = fmt::format("{}:{}", path.string(), number);
    const Json document = parse_json(line, where);
    if (!document.is_object() || !document.contains("custom_id"))
      fail(ErrorKind::kInput, "batch", where + ": expected an object with custom_id");
    each(document, where);
  }
}

}  // namespace

struct BatchFolder::State {
  fs::path folder;
  std::string model;
  Journal& journal;
  Budget& budget;
  BatchLimits limits;
  BatchCounts counts;
  struct Waiting {
    TeacherRequest request;
    std::uint64_t copies = 0;  ///< times written, less times failed
  };
  std::unordered_map<std::string, Waiting> waiting;  ///< by key: written, not answered
  std::map<std::string, std::string> failures;       ///< by key: what came instead of an answer
  std::unordered_set<std::string> added;
  std::uint64_t next_file = 1;
  std::vector<std::unique_ptr<AtomicFile>> files;
  std::uint64_t lines = 0;  ///< in the last of them

  [[nodiscard]] fs::path name(std::uint64_t number) const {
    return folder / fmt::format("batch-{:05}.jsonl", number);
  }

  void read_requests(const fs::path& path) {
    for_lines(path, [&](const Json& line, const std::string& where) {
      TeacherRequest request;
      const std::string url = json_string(line, "url", where);
      request.route = url.ends_with("/chat/completions") ? Route::kChat : Route::kCompletions;
      const auto body = line.find("body");
      if (body == line.end() || !body->is_object())
        fail(ErrorKind::kInput, "batch", where + ": expected an object under 'body'",
             "collect needs the request files as lancet wrote them");
      request.body = *body;
      Waiting& item = waiting[json_string(line, "custom_id", where)];
      item.request = std::move(request);
      ++item.copies;
    });
  }

  void read_answers(const fs::path& path) {
    for_lines(path, [&](const Json& line, const std::string& where) {
      const std::string key = json_string(line, "custom_id", where);
      if (journal.contains(key)) {
        waiting.erase(key);
        return;
      }
      const auto request = waiting.find(key);
      if (request == waiting.end()) {
        ++counts.unknown;
        return;
      }
      take(key, request->second, line, where);
    });
  }

  /// One line of an output or error file.
  void take(const std::string& key, Waiting& item, const Json& line, const std::string& where) {
    const auto response = line.find("response");
    const bool there = response != line.end() && response->is_object();
    const long status =
        there ? static_cast<long>(json_int(*response, "status_code", "batch", 200)) : 500;
    const std::string body =
        there && response->contains("body") ? dump_json((*response)["body"]) : std::string();
    Parsed parsed = parse_answer(body, item.request);
    const ResponseVerdict verdict = judge_status(status);
    if (verdict == ResponseVerdict::kReject) {
      parsed.kind = Parsed::Kind::kAnswer;
      parsed.answer = {.ending = Ending::kRejected, .message = error_message(body)};
    }
    const bool read = verdict == ResponseVerdict::kAnswer || verdict == ResponseVerdict::kReject;
    if (!read || parsed.kind != Parsed::Kind::kAnswer) {
      // Expired, or the server's fault: another batch may answer it, or already waits to.
      ++counts.failed;
      const std::string said = there ? fmt::format("{} {}", status, error_message(body))
                                     : error_message(dump_json(line));
      failures[key] = fmt::format("{}: {}", printable(where, 400),
                                  read ? printable(parsed.message, 300) : said);
      if (--item.copies == 0) waiting.erase(key);
      return;
    }
    ++counts.answered;
    budget.recall(parsed.answer.usage);
    journal.add(key, parsed.answer);
    waiting.erase(key);
  }

  void next() {
    files.push_back(std::make_unique<AtomicFile>(name(next_file++)));
    lines = 0;
  }
};

BatchFolder::BatchFolder(fs::path folder, std::string model, Journal& journal, Budget& budget,
                         BatchLimits limits)
    : state_(new State{std::move(folder), std::move(model), journal, budget, limits}) {
  fs::create_directories(state_->folder);
  std::vector<fs::path> ours, others;
  for (const auto& each : fs::directory_iterator(state_->folder)) {
    const std::string name = each.path().filename().string();
    if (!name.ends_with(".jsonl") || name.starts_with('.')) continue;
    unsigned number = 0;
    char rest[8] = {};
    const bool own = std::sscanf(name.c_str(), "batch-%5u.json%7s", &number, rest) == 2 &&
                     std::string_view(rest) == "l";
    (own ? ours : others).push_back(each.path());
    if (own) state_->next_file = std::max<std::uint64_t>(state_->next_file, number + 1);
  }
  std::sort(ours.begin(), ours.end());
  std::sort(others.begin(), others.end());
  for (const fs::path& path : ours) state_->read_requests(path);
  // What was answered in an earlier run waits no more.
  std::erase_if(state_->waiting, [&](const auto& each) { return journal.contains(each.first); });
  for (const fs::path& path : others) state_->read_answers(path);
  std::erase_if(state_->failures, [&](const auto& each) { return journal.contains(each.first); });
  if (!state_->failures.empty())
    log::warn(fmt::format("{} requests got no answer, among them {}", state_->failures.size(),
                          state_->failures.begin()->second));
  state_->journal.flush();
  state_->counts.pending = state_->waiting.size();
}

BatchFolder::~BatchFolder() = default;

void BatchFolder::add(const TeacherRequest& request, const std::string& key) {
  if (state_->waiting.contains(key) || !state_->added.insert(key).second) return;
  Json body = request.body;
  body["model"] = state_->model;
  const Json line{{"custom_id", key},
                  {"method", "POST"},
                  {"url", "/v1" + std::string(route_path(request.route))},
                  {"body", nlohmann::json(body)}};
  const std::string text = dump_json(line) + "\n";
  const bool full = state_->files.empty() || state_->lines >= state_->limits.requests ||
                    state_->files.back()->written() + text.size() > state_->limits.bytes;
  if (full) state_->next();
  state_->files.back()->write(text);
  ++state_->lines;
  ++state_->counts.written;
}

BatchCounts BatchFolder::commit() {
  for (const auto& file : state_->files) file->commit();
  state_->counts.files = state_->files.size();
  state_->files.clear();
  state_->journal.sync();
  return state_->counts;
}

}  // namespace lancet
