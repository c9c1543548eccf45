#include "distill/curate.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/outputs.h"
#include "core/progress.h"
#include "core/seconds.h"
#include "core/text.h"
#include "distill/curate_report.h"
#include "distill/curate_stage.h"
#include "distill/licence.h"
#include "distill/rows/spool.h"
#include "formats/model_writer.h"
#include "formats/replaceable.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "curate";
constexpr std::size_t kBadShown = 100;

fs::path beside(const fs::path& out, const char* ending) { return out.string() + ending; }

/// Duties that came with the inputs that are there, and those the person names.
LicenceDuties collect_duties(const CurateRequest& request) {
  LicenceDuties duties;
  for (const fs::path& input : request.inputs) duties.add_data(input);
  for (const std::string& teacher : request.teachers) duties.add_teacher(teacher);
  for (const std::string& licence : request.licences) duties.declare(licence);
  duties.check(request.model_name, request.accept_terms_risk);
  if (request.settings_only) return duties;
  for (const std::string& teacher : duties.unknown_teachers())
    log::warn(fmt::format(
        "the licence of the teacher '{}' is not known: declare it with --teacher-licence",
        printable(teacher)));
  return duties;
}

/// No file is written twice, nor over what is read.
void check_files(const CurateRequest& request) {
  std::vector<fs::path> read = request.inputs, written{request.output};
  for (const FilterRequest& filter : request.filters) {
    for (const auto& [key, value] : filter.settings) {
      if (key == "set") read.emplace_back(value);
    }
  }
  for (const char* ending : {".lancet.json", ".NOTICE"})
    written.push_back(beside(request.output, ending));
  if (!request.report.empty()) written.push_back(request.report);
  check_apart(kOperation, read, written);
  read.push_back(request.student);
  const Replace replace = replaces(request.force, request.plan || request.settings_only);
  check_place(kOperation, request.output, OutputKind::kFile, read, replace);
  if (!request.report.empty())
    check_place(kOperation, request.report, OutputKind::kFile, read, replace);
}

void check_request(const CurateRequest& request) {
  if (request.inputs.empty()) fail(ErrorKind::kUsage, kOperation, "expected an input, found none");
  if (request.score && std::ranges::count(request.filters, "perplexity", &FilterRequest::name) == 0)
    fail(ErrorKind::kUsage, kOperation,
         "--student: expected the filter perplexity, which asks it, found others alone",
         "e.g. --filter perplexity:max=1000");
  check_files(request);
  if (request.settings_only) return;
  for (const fs::path& input : request.inputs) {
    if (!fs::exists(input))
      fail(ErrorKind::kInput, kOperation,
           fmt::format("'{}' does not exist", printable(input.string())));
  }
}

std::vector<ActiveFilter> make_filters(const CurateRequest& request) {
  const FilterContext context{.score = request.score, .silent = request.settings_only};
  std::vector<ActiveFilter> filters;
  for (const FilterRequest& wanted : request.filters) {
    const Filter& filter = find_filter(wanted.name);
    FilterValues values(filter.name, filter.parameters, wanted.settings);
    auto rows = filter.make(values, context);
    filters.push_back(
        {&filter, std::move(values), std::move(rows), FilterTally(request.seed, filters.size())});
  }
  return filters;
}

class Curation {
 public:
  explicit Curation(const CurateRequest& request)
      : request_(request),
        duties_(collect_duties(request)),
        filters_(make_filters(request)),
        inputs_(request.inputs) {}

  Json plan() const {
    Json json{{"output", request_.output.string()},
              {"bytes_to_read", inputs_.bytes()},
              {"inputs", Json::array()},
              {"filters", filters_json(false)}};
    for (const fs::path& input : request_.inputs)
      json["inputs"].push_back({{"path", input.string()}, {"bytes", fs::file_size(input)}});
    if (!duties_.empty()) json["licence"] = duties_.json();
    return json;
  }

  Json run() {
    const Timer timer;
    AtomicFile out(request_.output);
    std::size_t first = 0;
    std::unique_ptr<Spool> spool;
    std::vector<Origin> origins;
    for (;;) {
      std::size_t end = first;
      while (end < filters_.size() && !filters_[end].filter->selects) ++end;
      const bool last = end == filters_.size();
      std::unique_ptr<Spool> next = last ? nullptr : std::make_unique<Spool>(request_.output);
      std::vector<Origin> kept;
      run_part(first, end, spool.get(), origins, [&](const Row& row) {
        if (last) {
          write(out, row);
        } else {
          next->add_line(row.raw);
          kept.push_back({row.source, row.line});
        }
      });
      if (last) break;
      next->finish();
      spool = std::move(next);
      origins = std::move(kept);
      first = end + 1;
    }
    inputs_.check_unchanged();
    hash_inputs();  // before there is an output that lacks its manifest
    out.commit();
    return finish(timer.seconds());
  }

 private:
  const CurateRequest& request_;
  LicenceDuties duties_;
  std::vector<ActiveFilter> filters_;
  RowFiles inputs_;
  std::uint64_t read_ = 0, written_ = 0, bad_ = 0;
  std::vector<std::string> bad_messages_;
  LengthHistogram lengths_read_, lengths_written_;
  Sha256 hash_;
  Json hashed_inputs_ = Json::array();
  std::uint64_t bytes_ = 0;

  [[nodiscard]] std::string source_name(std::uint32_t source) const {
    return request_.inputs.at(source).string();
  }
  [[nodiscard]] std::string place(const Row& row) const {
    return fmt::format("{}:{}", source_name(row.source), row.line);
  }

  static std::size_t text_bytes(const Row& row) {
    std::size_t bytes = 0;
    for (const RowTurn& turn : row.turns) bytes += turn.content.size();
    return bytes;
  }

  /// Filters [first, end) over the inputs, or over a spool after the selecting filter first - 1.
  void run_part(std::size_t first, std::size_t end, const Spool* spool,
                const std::vector<Origin>& origins, const std::function<void(const Row&)>& keep) {
    std::optional<RowFiles> spooled;
    std::vector<std::optional<Drop>> selected;
    Stage stage{.files = &inputs_};
    if (spool != nullptr) {
      spooled.emplace(std::vector<fs::path>{spool->path()});
      ActiveFilter& selector = filters_[first - 1];
      selected = selector.rows->select(SpoolStore(*spooled, origins));
      stage.files = &*spooled;
      stage.origins = &origins;
      stage.selector = &selector;
      stage.selected = &selected;
    }
    Progress progress("curate", stage.files->bytes(), Progress::Unit::kBytes);
    stage.filters = std::span(filters_).subspan(first, end - first);
    stage.place = [this](const Row& row) { return place(row); };
    stage.name = [this](std::uint32_t source) { return source_name(source); };
    stage.read = [&](const Row& row) {
      if (spool != nullptr) return;
      ++read_;
      lengths_read_.add(text_bytes(row));
    };
    stage.keep = keep;
    stage.bad = [this](const std::string& message) { add_bad(message); };
    stage.progress = [&](std::uint64_t bytes) { progress.advance(bytes); };
    run_stage(stage);
    progress.finish();
  }

  void add_bad(const std::string& message) {
    if (request_.strict)
      fail(ErrorKind::kInput, kOperation, message, "mend the row, or leave --strict out");
    ++bad_;
    if (bad_messages_.size() < kBadShown) bad_messages_.push_back(message);
    if (bad_ <= 5) log::warn(message);
  }

  void write(AtomicFile& out, const Row& row) {
    Json provenance{{"source", fs::path(source_name(row.source)).filename().string()},
                    {"line", row.line}};
    if (!row.id.empty()) provenance["id"] = row.id;
    provenance["filters"] = Json::array();
    for (const ActiveFilter& filter : filters_)
      provenance["filters"].push_back(filter.filter->name);
    if (const Json before = row.value("provenance"); !before.is_null())
      provenance["before"] = before;
    const std::string line = row_text(row, provenance) + "\n";
    out.write(line);
    hash_.update(line);
    bytes_ += line.size();
    ++written_;
    lengths_written_.add(text_bytes(row));
  }

  [[nodiscard]] Json filters_json(bool samples) const {
    Json all = Json::array();
    for (const ActiveFilter& filter : filters_) {
      Json json{{"name", filter.filter->name}, {"settings", filter.values.json()}};
      if (!request_.plan) {
        json.update(filter.tally.json(samples));
        json["details"] = filter.rows->details();
      }
      all.push_back(std::move(json));
    }
    return all;
  }

  Json finish(double seconds) {
    Json result{
        {"output", request_.output.string()},
        {"rows_read", read_},
        {"rows_written", written_},
        {"bad_rows", bad_},
        {"bad", bad_messages_},
        {"filters", filters_json(true)},
        {"lengths", {{"read", lengths_read_.json()}, {"written", lengths_written_.json()}}}};
    if (!duties_.empty()) result["licence"] = duties_.json();
    std::vector<WrittenFile> files{{request_.output, bytes_, hash_.hex()}};
    const auto add_text = [&](const fs::path& path, const std::string& text) {
      write_file(path, text);
      files.push_back({path, text.size(), sha256_hex(std::string_view(text))});
    };
    if (const std::string notice = duties_.notice(); !notice.empty())
      add_text(beside(request_.output, ".NOTICE"), notice);
    if (!request_.report.empty()) write_file(request_.report, curate_page(result));
    write_manifest(beside(request_.output, ".lancet.json"), manifest(result), files);
    for (Json& filter : result["filters"]) filter.erase("samples");
    result["bytes"] = bytes_;
    result["seconds"] = seconds;
    result["peak_memory"] = peak_memory();
    return result;
  }

  void hash_inputs() {
    for (const fs::path& input : request_.inputs) hashed_inputs_.push_back(input_file(input));
  }

  [[nodiscard]] Json manifest(const Json& result) const {
    Json json{{"command", "curate"},
              {"seed", request_.seed},
              {"inputs", hashed_inputs_},
              {"rows_read", result["rows_read"]},
              {"rows_written", result["rows_written"]},
              {"bad_rows", result["bad_rows"]},
              {"filters", filters_json(false)}};
    if (!duties_.empty()) {
      json["licence"] = duties_.json();
      json["card"] = duties_.card();
    }
    return json;
  }
};

}  // namespace

Json curate(const CurateRequest& request) {
  check_request(request);
  if (request.settings_only) {
    (void)collect_duties(request);
    (void)make_filters(request);
    return nullptr;
  }
  Curation curation(request);
  return request.plan ? curation.plan() : curation.run();
}

}  // namespace lancet
