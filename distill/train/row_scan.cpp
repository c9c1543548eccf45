#include "distill/train/row_scan.h"

#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/progress.h"

namespace lancet {
namespace {

constexpr std::size_t kSlotsPerThread = 3;

/// What was seen of a batch.
struct Looked {
  std::vector<Seen> rows;
  std::uint64_t lines = 0;  ///< blank ones too
};

void look_at_batch(const RowFiles& files, std::size_t batch, Looked& looked,
                   const std::function<void(Seen&)>& look) {
  looked.rows.clear();
  looked.lines = files.for_each_line(batch, [&](std::uint64_t number, std::string_view line) {
    Seen& seen = looked.rows.emplace_back();
    seen.line = line;
    seen.number = number;
    seen.source = files.source(batch);
    try {
      look(seen);
    } catch (const RowProblem& problem) {
      seen.problem = problem;
    }
  });
}

}  // namespace

void scan_rows(const RowFiles& files, std::string_view label,
               const std::function<void(Seen&)>& look,
               const std::function<void(Seen&, std::uint64_t)>& take) {
  const auto slots = kSlotsPerThread * static_cast<std::size_t>(parallel::threads());
  std::vector<Looked> batches(slots);
  Progress progress(std::string(label), files.bytes(), Progress::Unit::kBytes);
  std::uint32_t source = 0;
  std::uint64_t lines = 0;  // of it, before the batch
  parallel::pipeline(
      files.batches(), slots,
      {.begin = [](std::size_t, std::size_t) { check_interrupted(); },
       .work = [&](std::size_t i,
                   std::size_t slot) { look_at_batch(files, i, batches[slot], look); },
       .finish =
           [&](std::size_t i, std::size_t slot) {
             if (files.source(i) != source) lines = 0;
             source = files.source(i);
             for (Seen& seen : batches[slot].rows) take(seen, lines + seen.number);
             lines += batches[slot].lines;
             batches[slot].rows.clear();
             files.release(i);
             progress.advance(files.batch_bytes(i));
           }});
  progress.finish();
}

}  // namespace lancet
