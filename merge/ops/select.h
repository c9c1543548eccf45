#pragma once
// The k largest magnitudes of a tensor, exactly, without sorting it (rank_search.h): by the bits of
// |x| rounded to float32. Elements of equal magnitude are ranked by index, the lower index first.

#include <cstdint>
#include <functional>
#include <vector>

#include "merge/ops/rank_search.h"

namespace lancet::ops {

/// The band of ranks [begin, end) of one model's magnitudes, 0 = the largest.
struct RankBand {
  std::uint64_t begin = 0, end = 0;
  double of_nonzero = -1;  ///< not negative: the end is this share of the elements that are not 0
};

/// Says for every element of a series whether its magnitude's rank is in the band.
class BandFilter {
 public:
  /// One band for each series.
  [[nodiscard]] static std::vector<BandFilter> find(const MergeTask& task, const Series& series,
                                                    const std::vector<RankBand>& bands);
  /// x, the series' values in `block`: 0 where the rank is outside the band.
  void keep(const Block& block, Out x) const;
  /// A bit for each of the series' keys in `block` (keys.h): its rank is in the band.
  void mark(const Block& block, std::span<const std::uint32_t> keys,
            std::span<std::uint8_t> bits) const;

 private:
  /// "rank < count".
  struct Cut {
    bool none = true, all = false;  ///< of no element, of every element
    RankQuery last;                 ///< the element of rank count - 1
  };
  /// A cut inside one block: keys above `threshold` are in, and the first `ties` that equal it.
  struct Side {
    std::uint32_t threshold = 0;
    std::uint64_t ties = 0;
  };
  Cut inner_, outer_;  ///< in the band: in outer and not in inner

  [[nodiscard]] static Side side_of(const Cut& cut, const Block& block);
  /// visit(i, in the band) for the keys of a block that has ties.
  template <typename Visit>
  static void settle(std::span<const std::uint32_t> keys, Side outer, Side inner,
                     const Visit& visit);
};

/// The magnitudes at the given ranks (0 = the smallest) of one series, as float32. Ranks are below
/// the number of elements.
[[nodiscard]] std::vector<float> magnitudes_at(const MergeTask& task,
                                               const std::function<In(const Block&)>& values,
                                               const std::vector<std::uint64_t>& ranks);

}  // namespace lancet::ops
