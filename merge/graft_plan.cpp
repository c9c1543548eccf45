// What Graft tells of its memory and time before it begins.
#include <algorithm>

#include "core/memory.h"
#include "core/seconds.h"
#include "core/stream_file.h"
#include "merge/graft.h"
#include "merge/graft_rows.h"

namespace lancet {
namespace {

constexpr std::size_t kTried = 2048;              ///< rows that are made on trial
constexpr std::uint64_t kFaultAround = 64 << 10;  ///< what one read of a row maps at least
constexpr std::uint64_t kCode = 3 << 20;          ///< what writing loads of the program

std::uint64_t found_bytes(std::size_t steps) {
  return sizeof(SparseRow) + steps * (sizeof(std::uint32_t) + sizeof(double));
}

/// What is mapped of a table when some of its rows have been read.
class Windows {
 public:
  explicit Windows(const TensorInfo& table)
      : table_(table),
        row_(table.bytes / static_cast<std::uint64_t>(std::max<std::int64_t>(1, table.shape[0]))),
        seen_(table.bytes / kFaultAround + 1) {}
  void add(std::uint64_t row) {
    const std::uint64_t last = (row + 1) * row_ - 1;
    for (std::uint64_t at = row * row_ / kFaultAround; at <= last / kFaultAround; ++at)
      seen_.at(at) = true;
  }
  void add_all() { seen_.assign(seen_.size(), true); }
  [[nodiscard]] std::uint64_t bytes() const {
    return std::min(table_.bytes,
                    static_cast<std::uint64_t>(std::ranges::count(seen_, true)) * kFaultAround);
  }

 private:
  const TensorInfo& table_;
  std::uint64_t row_;
  std::vector<bool> seen_;
};

}  // namespace

std::uint64_t Graft::bytes_read() const {
  std::uint64_t bytes = 0;
  for (const ModelSource* source : {&model_, &donor_}) {
    for (const MappedFile& file : source->checkpoint().files()) bytes += file.size();
  }
  return bytes;
}

double Graft::seconds() const {
  double seconds = 0;
  for (const Table& table : tables_) {
    const std::vector<std::uint32_t> targets = targets_of(table);
    const auto reader = stored_reader(donor_, *table.donor, donor_tokens_.label());
    seconds += pursuit_seconds(*reader, {atoms_, targets, options_.memory / 2}, options_.pursuit) +
               making_seconds(table);
  }
  return seconds;
}

/// Rows from all over the table; those that would be fitted as sums of that many atoms.
double Graft::making_seconds(const Table& table) const {
  const std::vector<std::uint32_t> targets = targets_of(table);
  const auto width = static_cast<std::size_t>(table.donor->shape[1]);
  const std::size_t steps = pursuit_steps(atoms_.size(), width, options_.pursuit);
  const std::size_t tried = std::min(kTried, matches_.size());
  const auto reader = stored_reader(model_, *table.model, model_tokens_.label());
  RowSums sums;
  const double choosing = seconds_of([&] {
    for (std::size_t i = 0; i < tried; ++i) {
      const std::size_t id = i * matches_.size() / tried;
      std::vector<RowSums::Term> row;
      for (std::size_t k = 0; k < steps && std::ranges::binary_search(targets, id); ++k) {
        const std::uint32_t atom = atoms_[(i * steps + k) * 7919 % atoms_.size()];
        row.push_back({static_cast<std::uint32_t>(matches_[atom].row), 1});
      }
      sums.add(row.empty() ? unfitted_row(table, id) : row, -1);
    }
  });
  std::optional<RowMaker> maker;
  const double mean = seconds_of([&] { maker.emplace(*reader, sums); });
  const std::uint64_t step = std::min(RowMaker::rows_at_a_time(maker->width()), tried);
  std::vector<double> values(step * maker->width());
  const double making = seconds_of([&] {
    for (std::uint64_t row = 0; row + step <= tried; row += step) maker->make(row, values);
  });
  const std::uint64_t made = tried / step * step;
  return mean + (choosing / static_cast<double>(tried) + making / static_cast<double>(made)) *
                    static_cast<double>(matches_.size());
}

/// The rows of the donor's that a batch reads are mapped, beside the atoms, their cosines, the
/// batch and what is found.
std::uint64_t Graft::solving_memory(const Table& table) const {
  const std::vector<std::uint32_t> targets = targets_of(table);
  if (targets.empty()) return 0;
  const auto width = static_cast<std::size_t>(table.donor->shape[1]);
  const PursuitPlan plan = plan_pursuit(targets.size(), atoms_.size(), width, options_.pursuit);
  Windows mapped(*table.donor);
  for (const std::uint32_t id : atoms_) mapped.add(id);
  for (std::size_t t = 0; t < std::min(plan.batch, targets.size()); ++t) mapped.add(targets[t]);
  const std::uint64_t atoms = Atoms::bytes(atoms_.size(), width);
  const std::size_t steps = pursuit_steps(atoms_.size(), width, options_.pursuit);
  return mapped.bytes() + (atoms <= options_.memory / 2 ? atoms : 0) + plan.bytes +
         targets.size() * found_bytes(steps);
}

/// A block of the result, and what its terms map of the model's table.
std::uint64_t Graft::writing_memory(const Table& table) const {
  const auto width = static_cast<std::uint64_t>(table.model->shape[1]);
  const std::uint64_t step = RowMaker::rows_at_a_time(width);
  const std::vector<std::uint32_t> targets = targets_of(table);
  std::uint64_t most = 0;
  for (std::size_t first = 0; first < matches_.size(); first += step) {
    Windows mapped(*table.model);
    const std::size_t end = std::min<std::size_t>(matches_.size(), first + step);
    for (std::size_t id = first; id < end; ++id) {
      if (std::ranges::binary_search(targets, id)) {
        mapped.add_all();  // of atoms from all over it
        continue;
      }
      for (const RowSums::Term& term : unfitted_row(table, id)) {
        if (term.row != RowSums::kMean) mapped.add(term.row);
      }
    }
    most = std::max(most, mapped.bytes());
  }
  return kCode + most + RowMaker::kBytes +
         (bytes() < StreamFile::kWorthwhile ? 0 : StreamFile::kMemory);
}

std::uint64_t Graft::expected_memory() const {
  std::uint64_t sums = 0, most = 0;
  for (const Table& table : tables_) {
    const std::size_t targets = targets_of(table).size();
    most = std::max(most, sums + solving_memory(table));
    const auto width = static_cast<std::size_t>(table.donor->shape[1]);
    const std::size_t steps = pursuit_steps(atoms_.size(), width, options_.pursuit);
    sums += sizeof(RowSums::Term) * (targets * steps + matches_.size()) +
            (sizeof(double) + sizeof(std::uint64_t)) * matches_.size();
    most = std::max(most, sums + targets * found_bytes(steps));
  }
  for (const Table& table : tables_) most = std::max(most, sums + writing_memory(table));
  return std::max(peak_memory(), resident_memory() + most);
}

}  // namespace lancet
