#include "distill/curate_stage.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace lancet {
namespace {

constexpr std::size_t kSlotsPerThread = 4;

/// A line that is not blank, on its way from inspection to decision.
struct Judged {
  std::string_view line;
  std::uint64_t number = 0;      ///< of the line, in its batch
  std::optional<Row> row;        ///< nothing when it cannot be read
  std::vector<Sketch> sketches;  ///< of the filters up to the one that drops it
  std::optional<Drop> drop;      ///< by the last of them
};

struct Inspected {
  std::vector<Judged> rows;
  std::uint32_t source = 0;
  std::uint64_t lines = 0;  ///< blank ones too
};

class Runner {
 public:
  explicit Runner(const Stage& stage) : stage_(stage) {}

  void run() {
    const auto slots = kSlotsPerThread * static_cast<std::size_t>(parallel::threads());
    batches_.resize(slots);
    parallel::pipeline(
        stage_.files->batches(), slots,
        {.begin = [](std::size_t, std::size_t) { check_interrupted(); },
         .work = [&](std::size_t i, std::size_t slot) { inspect(i, batches_[slot]); },
         .finish =
             [&](std::size_t i, std::size_t slot) {
               decide(batches_[slot]);
               stage_.files->release(i);
               stage_.progress(stage_.files->batch_bytes(i));
             }});
  }

 private:
  const Stage& stage_;
  std::vector<Inspected> batches_;
  std::uint64_t rows_ = 0;  ///< of the spool, so far
  std::uint32_t source_ = 0;
  std::uint64_t lines_ = 0;  ///< of the source, before the batch

  void inspect(std::size_t batch, Inspected& out) const {
    out.rows.clear();
    out.source = stage_.files->source(batch);
    out.lines =
        stage_.files->for_each_line(batch, [&](std::uint64_t number, std::string_view line) {
          Judged& one = out.rows.emplace_back();
          one.line = line;
          one.number = number;
          inspect_line(one, out.source);
        });
  }

  void inspect_line(Judged& one, std::uint32_t source) const {
    try {
      one.row = parse_row(one.line, stage_.name(source));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kInput) throw;
      return;  // told by decide(), which knows the line
    }
    for (const ActiveFilter& filter : stage_.filters) {
      one.drop = filter.rows->inspect(*one.row, one.sketches.emplace_back());
      if (one.drop) return;
    }
  }

  void decide(Inspected& batch) {
    if (batch.source != source_) lines_ = 0;
    source_ = batch.source;
    for (Judged& one : batch.rows) {
      if (!one.row) {
        tell_bad(one);
        continue;
      }
      one.row->source = stage_.origins != nullptr ? (*stage_.origins)[rows_].source : source_;
      one.row->line = stage_.origins != nullptr ? (*stage_.origins)[rows_].line : line_of(one);
      stage_.read(*one.row);
      if (!selected_away(*one.row) && passes(one)) stage_.keep(*one.row);
      ++rows_;
    }
    lines_ += batch.lines;
    batch.rows.clear();
  }

  [[nodiscard]] std::uint64_t line_of(const Judged& one) const { return lines_ + one.number; }

  void tell_bad(const Judged& one) const {
    try {
      (void)parse_row(one.line, fmt::format("{}:{}", stage_.name(source_), line_of(one)));
    } catch (const Error& error) {
      stage_.bad(error.message());
    }
  }

  bool selected_away(const Row& row) {
    if (stage_.selector == nullptr) return false;
    stage_.selector->tally.see();
    const auto& drop = (*stage_.selected)[rows_];
    if (drop) stage_.selector->tally.drop(row, stage_.place(row), *drop);
    return drop.has_value();
  }

  bool passes(Judged& one) {
    for (std::size_t i = 0; i < one.sketches.size(); ++i) {
      ActiveFilter& filter = stage_.filters[i];
      filter.tally.see();
      auto drop = filter.rows->decide(*one.row, one.sketches[i]);
      if (one.drop && i + 1 == one.sketches.size()) drop = one.drop;
      if (!drop) continue;
      filter.tally.drop(*one.row, stage_.place(*one.row), *drop);
      return false;
    }
    return true;
  }
};

}  // namespace

void run_stage(const Stage& stage) { Runner(stage).run(); }

void SpoolStore::for_each_group(
    std::size_t group,
    const std::function<void(std::size_t, const std::vector<Row>&)>& each) const {
  std::vector<Row> rows;
  std::size_t first = 0;
  const auto hand_over = [&] {
    if (!rows.empty()) each(first, rows);
    first += rows.size();
    rows.clear();
  };
  for (std::size_t batch = 0; batch < files_.batches(); ++batch) {
    check_interrupted();
    files_.for_each_line(batch, [&](std::uint64_t, std::string_view line) {
      rows.push_back(parse_row(line, "spool"));
      const Origin& origin = origins_[first + rows.size() - 1];
      rows.back().source = origin.source;
      rows.back().line = origin.line;
      if (rows.size() == group) hand_over();
    });
  }
  hand_over();
}

}  // namespace lancet
