// A diverse part of the rows: farthest first (Gonzalez 1985; "k-center greedy", Sener and Savarese
// 2018, arXiv:1708.00489). The first row is taken; then, again and again, the row whose nearest
// taken row is farthest, until `keep` are taken or the farthest is nearer than `min_distance`.
// Distance: 1 - Jaccard of character 5-grams, estimated by MinHash. Of equal rows the first counts.
// Time grows with rows times rows kept; 4 bytes a permutation are held for every row.
#include <atomic>

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "distill/filter.h"
#include "distill/minhash/signature.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

constexpr std::size_t kGroup = 1024, kGrain = 4096, kShingle = 5;

constexpr FilterParameter kParameters[] = {
    part_parameter(),
    {.name = "keep",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = kNoLimit,
     .minimum = 1,
     .maximum = 1e9,
     .help = "rows to keep"},
    {.name = "fraction",
     .fallback = 1,
     .minimum = 1e-6,
     .maximum = 1,
     .help = "share of the rows to keep, rounded up"},
    {.name = "min_distance", .maximum = 1, .help = "rows nearer than this to a kept one go"},
    {.name = "permutations",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 64,
     .minimum = 16,
     .maximum = 1024,
     .help = "values of a signature"}};

class Diversity final : public RowFilter {
 public:
  explicit Diversity(const FilterValues& values)
      : part_(values.part()),
        keep_(values.number("keep")),
        fraction_(values.number("fraction")),
        least_(values.number("min_distance")),
        hash_(values.integer("permutations"), 1) {
    if (std::isinf(keep_) && fraction_ == 1 && least_ == 0)
      fail(ErrorKind::kUsage, "curate",
           "filter diversity: expected keep, fraction or min_distance");
  }

  std::vector<std::optional<Drop>> select(const RowStore& rows) override {
    const std::size_t width = hash_.permutations();
    std::vector<std::uint32_t> signatures(rows.size() * width);
    rows.for_each_group(kGroup, [&](std::size_t first, const std::vector<Row>& group) {
      parallel::for_each(group.size(), [&](std::size_t i) {
        const std::string text = normalise_text(group[i].text(part_));
        const Signature signature = hash_.sign(character_shingles(text, kShingle));
        std::copy(signature.begin(), signature.end(),
                  signatures.begin() + static_cast<std::ptrdiff_t>((first + i) * width));
      });
    });
    return choose(signatures, rows.size(), width);
  }

  Json details() const override { return {{"kept", kept_}, {"radius", radius_}}; }

 private:
  RowPart part_;
  double keep_, fraction_, least_;
  MinHash hash_;
  std::size_t kept_ = 0;
  double radius_ = 0;  ///< distance of the farthest row from the kept ones

  std::vector<std::optional<Drop>> choose(const std::vector<std::uint32_t>& signatures,
                                          std::size_t count, std::size_t width) {
    const auto wanted = static_cast<std::size_t>(
        std::min(keep_, std::ceil(fraction_ * static_cast<double>(count))));
    std::vector<double> distance(count, 2);  // of the nearest kept row; 2 = none is kept yet
    std::vector<bool> taken(count, false);
    std::size_t next = 0;
    while (kept_ < std::min(wanted, count)) {
      check_interrupted();
      if (kept_ > 0 && (distance[next] < least_ || taken[next])) break;
      taken[next] = true;
      ++kept_;
      next = lower_distances(signatures, width, next, distance);
    }
    radius_ = count == 0 || kept_ == 0 ? 0 : distance[next];
    std::vector<std::optional<Drop>> drops(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (!taken[i])
        drops[i] = Drop{"near to kept rows", fmt::format("{:.2f} from the nearest", distance[i])};
    }
    return drops;
  }

  /// Distances to a newly kept row; returns the row that is farthest now, the first of equals.
  static std::size_t lower_distances(const std::vector<std::uint32_t>& signatures,
                                     std::size_t width, std::size_t kept,
                                     std::vector<double>& distance) {
    const std::span<const std::uint32_t> one{signatures.data() + kept * width, width};
    const std::size_t chunks = (distance.size() + kGrain - 1) / kGrain;
    std::vector<std::size_t> farthest(chunks);
    parallel::for_each(chunks, [&](std::size_t c) {
      std::size_t best = c * kGrain;
      for (std::size_t i = best; i < std::min(distance.size(), (c + 1) * kGrain); ++i) {
        distance[i] =
            std::min(distance[i], 1 - similarity(one, {signatures.data() + i * width, width}));
        if (distance[i] > distance[best]) best = i;
      }
      farthest[c] = best;
    });
    std::size_t best = farthest[0];
    for (const std::size_t i : farthest) {
      if (distance[i] > distance[best]) best = i;
    }
    return best;
  }
};

}  // namespace

extern const Filter filter_diversity;
const Filter filter_diversity{
    .name = "diversity",
    .title = "A diverse part of the rows, farthest first",
    .source = "Gonzalez 1985; arXiv:1708.00489",
    .parameters = kParameters,
    .selects = true,
    .make = [](const FilterValues& values, const FilterContext&) {
      return std::unique_ptr<RowFilter>(std::make_unique<Diversity>(values));
    }};

}  // namespace lancet
