#pragma once
// A filter: one file in distill/filters/, ending in its descriptor. A filter sees rows one by one
// and says why it drops one. What it can know from the row alone it says in `inspect`, which runs
// on many threads; what depends on the rows before, in `decide`, which runs in their order; a
// selecting filter sees all rows that came so far, in `select`.

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "distill/requests.h"
#include "distill/rows/row.h"

namespace lancet {

/// A parameter's fallback that says: not limited.
inline constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// A parameter of a filter: ranged and documented here and nowhere else.
struct FilterParameter {
  enum class Kind { kNumber, kInteger, kFlag, kWord, kText, kList };
  std::string_view name;
  Kind kind = Kind::kNumber;
  double fallback = 0;              ///< of a word: its position in `choices`
  double minimum = 0, maximum = 0;  ///< inclusive
  std::string_view help;
  std::span<const std::string_view> choices = {};
};

class FilterValues {
 public:
  /// Error(kUsage) for an unknown key (with a suggestion), a value out of range, a key given twice
  /// that is no list.
  FilterValues(std::string_view filter, std::span<const FilterParameter> parameters,
               const std::vector<std::pair<std::string, std::string>>& settings);
  [[nodiscard]] double number(std::string_view name) const;
  [[nodiscard]] std::uint64_t integer(std::string_view name) const;
  [[nodiscard]] bool flag(std::string_view name) const { return number(name) != 0; }
  [[nodiscard]] std::size_t choice(std::string_view name) const { return integer(name); }
  [[nodiscard]] std::string text(std::string_view name) const;  ///< empty when not given
  [[nodiscard]] const std::vector<std::string>& list(std::string_view name) const;
  /// The part named by a parameter of kPartChoices.
  [[nodiscard]] RowPart part(std::string_view name = "part") const;
  /// Error(kUsage) where the least allowed is more than the most.
  void check_range(std::string_view least, std::string_view most) const;
  /// Everything, resolved, for the manifest.
  [[nodiscard]] Json json() const;

 private:
  std::string_view filter_;
  std::span<const FilterParameter> parameters_;
  std::map<std::string, double, std::less<>> numbers_;
  std::map<std::string, std::vector<std::string>, std::less<>> texts_;
};

inline constexpr std::string_view kPartChoices[] = {"all", "prompt", "response"};
/// The parameter `part`, falling back to choice `fallback`.
[[nodiscard]] constexpr FilterParameter part_parameter(int fallback = 0) {
  return {.name = "part",
          .kind = FilterParameter::Kind::kWord,
          .fallback = static_cast<double>(fallback),
          .minimum = 0,
          .maximum = 2,
          .help = "all, prompt or response: the texts of a row that count",
          .choices = kPartChoices};
}

/// What filters may use of the outside.
struct FilterContext {
  ScoreTexts score;     ///< the student; may be empty
  bool silent = false;  ///< only checked: a run will say what is worth a warning
};

/// Why a row goes: a rule of a few names, by which drops are counted, and what broke it.
struct Drop {
  std::string rule;
  std::string detail;
};

/// What `inspect` tells `decide` about a row.
using Sketch = std::vector<std::uint32_t>;

/// All rows before a selecting filter, in order.
class RowStore {
 public:
  virtual ~RowStore() = default;
  [[nodiscard]] virtual std::size_t size() const = 0;
  /// Calls `each(first index, rows)` for consecutive groups of at most `group` rows.
  virtual void for_each_group(
      std::size_t group,
      const std::function<void(std::size_t, const std::vector<Row>&)>& each) const = 0;
};

class RowFilter {
 public:
  virtual ~RowFilter() = default;
  /// Thread-safe.
  [[nodiscard]] virtual std::optional<Drop> inspect(const Row& row, Sketch& sketch) const;
  /// One row at a time, in order; also for a row that `inspect` drops, whose answer stands.
  [[nodiscard]] virtual std::optional<Drop> decide(const Row& row, const Sketch& sketch);
  /// Of a selecting filter: one answer for each row of the store.
  [[nodiscard]] virtual std::vector<std::optional<Drop>> select(const RowStore& rows);
  /// Facts for report and manifest, at the end.
  [[nodiscard]] virtual Json details() const { return Json::object(); }
};

struct Filter {
  std::string_view name;  ///< file name
  std::string_view title;
  std::string_view source;  ///< paper, or tool whose rule it is
  std::span<const FilterParameter> parameters;
  bool selects = false;
  std::unique_ptr<RowFilter> (*make)(const FilterValues& values,
                                     const FilterContext& context) = nullptr;
};

[[nodiscard]] std::span<const Filter* const> filter_registry();
/// Error(kUsage) with a suggestion.
[[nodiscard]] const Filter& find_filter(std::string_view name);
/// The rows of `lancet list filters`.
[[nodiscard]] Json filters_json();

}  // namespace lancet
