#include "distill/train/dataset.h"

#include <sys/stat.h>

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/seconds.h"
#include "core/temporary.h"
#include "core/text.h"
#include "distill/train/encode.h"
#include "distill/train/example_store.h"
#include "distill/train/row_scan.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "train";
constexpr std::size_t kMessages = 100;  ///< kept of bad rows
constexpr std::size_t kShown = 5;       ///< of these in an error

/// The day that templates print: that of the first file, so that ranks and resumed runs agree.
std::int64_t date_of(const fs::path& file) {
  struct stat info {};
  return ::stat(file.c_str(), &info) == 0 ? static_cast<std::int64_t>(info.st_mtime) : 0;
}

void check_options(const std::vector<fs::path>& files, const DatasetOptions& options) {
  if (files.empty()) fail(ErrorKind::kUsage, kOperation, "expected a data file, found none");
  if (options.max_length < 2)
    fail(ErrorKind::kUsage, kOperation,
         fmt::format("max length: expected at least 2 tokens, found {}", options.max_length));
  if (!(options.eval_fraction >= 0 && options.eval_fraction < 1))
    fail(ErrorKind::kUsage, kOperation,
         fmt::format("eval fraction: expected a share from 0 to below 1, found {}",
                     options.eval_fraction));
}

/// "1 json, 2 empty".
std::string reasons_of(const DatasetReport& report) {
  std::string out;
  for (const auto& [reason, count] : report.problems)
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, reason);
  return out;
}

/// No row is left: says what became of them.
[[noreturn]] void refuse_empty(const std::vector<fs::path>& files, const DatasetReport& report) {
  std::string lost = reasons_of(report);
  if (report.overlong_skipped > 0)
    lost +=
        fmt::format("{}{} over --max-length", lost.empty() ? "" : ", ", report.overlong_skipped);
  const std::string found = lost.empty() ? "none" : "none that can be used (" + lost + ")";
  const std::string first = report.messages.empty() ? "" : ": " + report.messages.front();
  fail(ErrorKind::kInput, kOperation,
       fmt::format("'{}'{}: expected rows to train on, found {}{}",
                   printable(files.front().string()), files.size() > 1 ? " and others" : "", found,
                   first),
       report.overlong_skipped > 0 ? "a larger --max-length, or --overlong truncate"
                                   : "docs/training.md tells what a row holds");
}

/// What is wrong with rows, by reason and by name.
class Problems {
 public:
  Problems(const std::vector<fs::path>& files, DatasetReport& report)
      : files_(files), report_(report) {}

  void add(const RowProblem& problem, std::uint32_t source, std::uint64_t line) {
    ++count_;
    auto& all = report_.problems;
    auto found = std::find_if(all.begin(), all.end(),
                              [&](const auto& each) { return each.first == problem.reason; });
    if (found == all.end()) found = all.insert(all.end(), {std::string(problem.reason), 0});
    ++found->second;
    if (report_.messages.size() < kMessages)
      report_.messages.push_back(
          fmt::format("{}:{}: {}", files_[source].string(), line, problem.message));
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  /// Refuses bad rows, or says which are left out.
  void settle(BadRows policy) const {
    if (count_ == 0) return;
    const std::string text =
        fmt::format("{} of {} rows cannot be used ({})", count_, report_.rows, reasons_of(report_));
    if (policy == BadRows::kSkip) {
      log::warn(text + ": left out");
      for (const std::string& each : report_.messages) log::warn(each);
      return;
    }
    std::string shown;
    for (std::size_t i = 0; i < std::min(kShown, report_.messages.size()); ++i)
      shown += (shown.empty() ? ": " : "; ") + report_.messages[i];
    fail(ErrorKind::kInput, kOperation, text + shown + (count_ > kShown ? "; ..." : ""),
         "mend them, or leave them out: --bad-rows skip");
  }

 private:
  const std::vector<fs::path>& files_;
  DatasetReport& report_;
  std::uint64_t count_ = 0;
};

/// Rows whose prompt hashes to below the fraction; never all of them, and never none where a
/// fraction is asked for and there are two prompts.
void split(const std::vector<std::uint64_t>& hashes, double fraction,
           std::vector<std::size_t>& train, std::vector<std::size_t>& held) {
  std::uint64_t least = UINT64_MAX, most = 0;
  for (const std::uint64_t hash : hashes) {
    least = std::min(least, hash);
    most = std::max(most, hash);
  }
  const bool any = fraction > 0 && least != most;
  for (std::size_t row = 0; row < hashes.size(); ++row) {
    const std::uint64_t hash = hashes[row];
    const bool below = static_cast<double>(hash >> 11) * 0x1p-53 < fraction;
    const bool out = any && (hash == least || (below && hash != most));
    (out ? held : train).push_back(row);
  }
}

}  // namespace

struct Dataset::Impl {
  DatasetOptions options;
  ExampleStore store;
  DatasetReport report;
  std::vector<std::uint64_t> hashes;
  std::vector<std::size_t> train, held;

  explicit Impl(const DatasetOptions& given) : options(given), store(scratch_of(given)) {}

  static fs::path scratch_of(const DatasetOptions& given) {
    if (given.scratch.empty()) return fs::temp_directory_path() / "lancet";
    fs::path out = temporary::named_path(given.scratch);
    temporary::make_parent(out);
    return out;
  }

  /// Everything that needs no tokenizer.
  void check(const RowFiles& rows, Problems& problems) {
    const Timer timer;
    RowKind kind = RowKind::kUnknown;
    scan_rows(
        rows, "check",
        [this](Seen& seen) { seen.kind = read_training_row(seen.line, options, false).kind; },
        [&](Seen& seen, std::uint64_t line) {
          ++report.rows;
          if (seen.problem) {
            problems.add(*seen.problem, seen.source, line);
          } else if (kind == RowKind::kUnknown) {
            kind = seen.kind;
          } else if (const auto mixed = other_kind(seen.kind, kind)) {
            problems.add(*mixed, seen.source, line);
          }
        });
    report.kind = row_kind_name(kind);
    report.check_seconds = timer.seconds();
  }

  /// A row of another kind than the first one, or nothing.
  static std::optional<RowProblem> other_kind(RowKind kind, RowKind first) {
    if (kind == first) return std::nullopt;
    return RowProblem{"mixed", fmt::format("a row of {}, the first ones are {}",
                                           row_kind_name(kind), row_kind_name(first))};
  }

  void encode(const RowFiles& rows, const RowEncoder& encoder, Problems& problems) {
    const Timer timer;
    scan_rows(
        rows, "tokenize", [&](Seen& seen) { look(seen, encoder); },
        [&](Seen& seen, std::uint64_t line) {
          if (seen.problem) return tell(*seen.problem, seen.source, line, problems);
          take(seen, line);
        });
    store.finish();
    report.encode_seconds = timer.seconds();
  }

  void look(Seen& seen, const RowEncoder& encoder) const {
    const TrainingRow row = read_training_row(seen.line, options, true);
    if (row_kind_name(row.kind) != report.kind) throw RowProblem{"mixed", {}};
    const EncodedRow encoded = encoder.encode(row);
    append_example(encoded.chosen, seen.bytes);
    if (encoded.rejected) append_example(*encoded.rejected, seen.bytes);
    for (const Example* part : {&encoded.chosen, encoded.rejected ? &*encoded.rejected : nullptr}) {
      if (part == nullptr) continue;
      seen.tokens += static_cast<std::uint32_t>(part->ids.size());
      seen.targets += static_cast<std::uint32_t>(
          std::count(part->target.begin(), part->target.end(), std::uint8_t{1}));
      for (const TopK& top : part->teacher) seen.teacher_targets += top.ids.empty() ? 0U : 1U;
    }
    seen.truncated = encoded.truncated;
    seen.prompt_hash = encoded.prompt_hash;
  }

  /// Problems of the second look; those of the first are told already.
  void tell(const RowProblem& problem, std::uint32_t source, std::uint64_t line,
            Problems& problems) {
    constexpr std::string_view kFirst[] = {"json", "utf8", "kind", "mixed", "keys"};
    if (std::find(std::begin(kFirst), std::end(kFirst), problem.reason) != std::end(kFirst)) return;
    if (problem.reason == "teacher" && problem.message.starts_with("expected \"teacher\"")) return;
    if (problem.reason == "overlong" && options.overlong == Overlong::kSkip) {
      ++report.overlong_skipped;
      return;
    }
    problems.add(problem, source, line);
  }

  void take(Seen& seen, std::uint64_t line) {
    set_line(seen.bytes, static_cast<std::int64_t>(line));
    store.add(seen.bytes, seen.tokens, seen.targets);
    hashes.push_back(seen.prompt_hash);
    report.tokens += seen.tokens;
    report.targets += seen.targets;
    report.teacher_targets += seen.teacher_targets;
    report.truncated += seen.truncated ? 1 : 0;
  }
};

Dataset Dataset::load(const std::vector<fs::path>& files, const ModelSource& model,
                      const Tokenizer& tokenizer, const DatasetOptions& options) {
  return load(files, ChatFormat::of(model), tokenizer, options);
}

Dataset Dataset::load(const std::vector<fs::path>& files, std::optional<ChatFormat> format,
                      const Tokenizer& tokenizer, const DatasetOptions& options) {
  check_options(files, options);
  const RowFiles rows(files);
  auto impl = std::make_unique<Impl>(options);
  impl->report.bytes = rows.bytes();
  Problems problems(files, impl->report);
  impl->check(rows, problems);
  if (options.bad_rows == BadRows::kError) problems.settle(options.bad_rows);
  const std::string& kind = impl->report.kind;
  if (options.as_chat && (kind == "messages" || kind == "text"))
    fail(ErrorKind::kUsage, kOperation,
         fmt::format("--as-chat: expected rows of prompts and completions, found {}", kind),
         kind == "text" ? "texts are trained on as they are"
                        : "messages go through the chat template without it");
  const RowEncoder encoder(tokenizer, std::move(format), impl->options, date_of(files.front()));
  impl->encode(rows, encoder, problems);
  rows.check_unchanged();
  problems.settle(options.bad_rows);
  impl->report.kept = impl->store.size();
  if (impl->store.size() == 0) refuse_empty(files, impl->report);
  split(impl->hashes, options.eval_fraction, impl->train, impl->held);
  impl->hashes = {};
  return Dataset(std::move(impl));
}

Dataset::Dataset(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;

std::size_t Dataset::size() const noexcept { return impl_->store.size(); }
Example Dataset::example(std::size_t row) const { return impl_->store.example(row); }

Preference Dataset::preference(std::size_t row) const {
  Preference out{impl_->store.example(row), impl_->store.example(row, 1)};
  out.rejected.line = out.chosen.line;
  return out;
}

std::span<const std::uint32_t> Dataset::lengths() const noexcept { return impl_->store.tokens(); }
std::span<const std::uint32_t> Dataset::targets() const noexcept { return impl_->store.targets(); }
std::span<const std::size_t> Dataset::train_rows() const noexcept { return impl_->train; }
std::span<const std::size_t> Dataset::eval_rows() const noexcept { return impl_->held; }
const DatasetReport& Dataset::report() const noexcept { return impl_->report; }
const std::string& Dataset::hash() const noexcept { return impl_->store.hash(); }

std::vector<std::size_t> Dataset::order(std::uint32_t epoch) const {
  const Random random(impl_->options.seed, "order", epoch);
  std::vector<std::pair<std::uint64_t, std::size_t>> keyed;
  keyed.reserve(impl_->train.size());
  for (const std::size_t row : impl_->train) {
    const std::uint64_t high = random.bits(2 * row), low = random.bits(2 * row + 1);
    keyed.emplace_back(high << 32 | low, row);
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<std::size_t> out;
  out.reserve(keyed.size());
  for (const auto& each : keyed) out.push_back(each.second);
  return out;
}

Dataset::Sample Dataset::sample(std::size_t row, const Tokenizer& tokenizer) const {
  const Example example = impl_->store.example(row);
  std::size_t end = example.ids.size();
  while (end > 0 && example.target[end - 1] == 0) --end;
  std::size_t begin = end;
  while (begin > 0 && example.target[begin - 1] != 0) --begin;
  const auto part = [&](std::size_t from, std::size_t to) {
    return std::vector<TokenId>(example.ids.begin() + static_cast<std::ptrdiff_t>(from),
                                example.ids.begin() + static_cast<std::ptrdiff_t>(to));
  };
  return {tokenizer.decode(part(0, begin), false), tokenizer.decode(part(begin, end), true)};
}

Overlong parse_overlong(std::string_view word) {
  if (word == "truncate") return Overlong::kTruncate;
  if (word == "skip") return Overlong::kSkip;
  if (word == "error") return Overlong::kError;
  fail(ErrorKind::kUsage, kOperation,
       fmt::format("over-long rows: expected truncate, skip or error, found '{}'",
                   printable(word, 40)));
}

BadRows parse_bad_rows(std::string_view word) {
  if (word == "error") return BadRows::kError;
  if (word == "skip") return BadRows::kSkip;
  fail(ErrorKind::kUsage, kOperation,
       fmt::format("bad rows: expected error or skip, found '{}'", printable(word, 40)));
}

Json dataset_json(const DatasetReport& report) {
  Json problems = Json::object();
  for (const auto& [reason, count] : report.problems) problems[reason] = count;
  return {{"kind", report.kind},
          {"rows", report.rows},
          {"kept", report.kept},
          {"truncated", report.truncated},
          {"overlong_skipped", report.overlong_skipped},
          {"tokens", report.tokens},
          {"targets", report.targets},
          {"teacher_targets", report.teacher_targets},
          {"problems", std::move(problems)},
          {"messages", report.messages},
          {"bytes", report.bytes},
          {"check_seconds", report.check_seconds},
          {"encode_seconds", report.encode_seconds}};
}

}  // namespace lancet
