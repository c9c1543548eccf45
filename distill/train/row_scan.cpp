#include "distill/train/row_scan.h"

#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/progress.h"

namespace lancet {
namespace {

constexpr std::size_t kSlotsPerThread = 3;

void look_at_batch(const RowFiles& files, std::size_t batch, std::vector<Seen>& rows,
                   const std::function<void(Seen&)>& look) {
  rows.clear();
  files.for_each_line(batch, [&](std::uint32_t source, std::string_view line) {
    Seen& seen = rows.emplace_back();
    seen.line = line;
    seen.source = source;
    if (line.empty()) return;
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
  std::vector<std::vector<Seen>> batches(slots);
  Progress progress(std::string(label), files.bytes(), Progress::Unit::kBytes);
  std::uint32_t source = 0;
  std::uint64_t line = 0;
  parallel::pipeline(
      files.batches(), slots,
      {.begin = [](std::size_t, std::size_t) { check_interrupted(); },
       .work = [&](std::size_t i,
                   std::size_t slot) { look_at_batch(files, i, batches[slot], look); },
       .finish =
           [&](std::size_t i, std::size_t slot) {
             for (Seen& seen : batches[slot]) {
               if (seen.source != source) line = 0;
               source = seen.source;
               ++line;
               if (!seen.line.empty()) take(seen, line);
             }
             batches[slot].clear();
             files.release(i);
             progress.advance(files.batch_bytes(i));
           }});
  progress.finish();
}

}  // namespace lancet
