#include "merge/graft_rows.h"

#include <algorithm>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "merge/ops/vector.h"

namespace lancet {
namespace {

/// The mean of all rows of a table.
std::vector<double> mean_row(const TensorReader& reader, std::size_t width) {
  const std::uint64_t rows = reader.elements() / std::max<std::size_t>(1, width);
  const std::uint64_t step = RowMaker::rows_at_a_time(width);
  std::vector<double> sum(width), values;
  for (std::uint64_t row = 0; row < rows; row += step) {
    check_interrupted();
    const std::uint64_t count = std::min(step, rows - row);
    values.resize(count * width);
    reader.read(row * width, values);
    for (std::uint64_t r = 0; r < count; ++r)
      ops::add(sum, std::span(values).subspan(r * width, width));
    reader.release(row * width, (row + count) * width);
  }
  ops::scale(sum, 1 / static_cast<double>(std::max<std::uint64_t>(1, rows)));
  return sum;
}

bool uses_mean(const RowSums& sums) {
  return std::ranges::find(sums.terms, RowSums::kMean, &RowSums::Term::row) != sums.terms.end();
}

}  // namespace

RowMaker::RowMaker(const TensorReader& reader, const RowSums& sums)
    : reader_(reader),
      sums_(sums),
      width_(static_cast<std::size_t>(reader.elements() /
                                      static_cast<std::uint64_t>(reader.shape().at(0)))) {
  if (uses_mean(sums)) mean_ = mean_row(reader, width_);
}

void RowMaker::make(std::uint64_t first, std::span<double> values) const {
  parallel::for_each(values.size() / width_, [&](std::size_t r) {
    add_terms(first + r, values.subspan(r * width_, width_));
  });
  reader_.release(0, reader_.elements());
}

void RowMaker::add_terms(std::uint64_t row, std::span<double> out) const {
  std::vector<double> values(out.size());
  ops::fill(out, 0);
  for (std::uint64_t k = sums_.starts[row]; k < sums_.starts[row + 1]; ++k) {
    const RowSums::Term& term = sums_.terms[k];
    const bool of_all = term.row == RowSums::kMean;
    if (!of_all) reader_.read(term.row * static_cast<std::uint64_t>(out.size()), values);
    ops::add_scaled(out, of_all ? ops::In(mean_) : ops::In(values), term.weight);
  }
}

}  // namespace lancet
