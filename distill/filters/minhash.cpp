// Near duplicates by MinHash and locality sensitive hashing (Broder 1997; Indyk and Motwani 1998).
// The first row of a group stays, as the rows come. Candidates that share a band are compared by
// all values of their signatures (distilabel and datasketch take every candidate for a duplicate:
// verify=false). Signatures equal datasketch's (distill/minhash/signature.h).
#include "distill/filter.h"
#include "distill/minhash/lsh.h"
#include "distill/minhash/signature.h"
#include "distill/text/words.h"

#include <fmt/format.h>

namespace lancet {
namespace {

constexpr std::string_view kUnits[] = {"characters", "words"};
constexpr FilterParameter kParameters[] = {
    part_parameter(),
    {.name = "threshold",
     .fallback = 0.8,
     .minimum = 0.05,
     .maximum = 1,
     .help = "least Jaccard similarity of the shingles that makes a duplicate"},
    {.name = "permutations",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 128,
     .minimum = 8,
     .maximum = 1024,
     .help = "values of a signature; four bytes each are held for every row that stays"},
    {.name = "unit",
     .kind = FilterParameter::Kind::kWord,
     .maximum = 1,
     .help = "characters or words: what a shingle is a run of",
     .choices = kUnits},
    {.name = "size",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 5,
     .minimum = 1,
     .maximum = 64,
     .help = "characters or words of a shingle"},
    {.name = "seed",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 1,
     .maximum = 4294967295,
     .help = "of the permutations; 1 is datasketch's"},
    {.name = "verify",
     .kind = FilterParameter::Kind::kFlag,
     .fallback = 1,
     .help = "compare candidates by their whole signatures; false: every candidate goes"}};

class NearDuplicates final : public RowFilter {
 public:
  explicit NearDuplicates(const FilterValues& values)
      : part_(values.part()),
        words_(values.choice("unit") == 1),
        size_(values.integer("size")),
        threshold_(values.number("threshold")),
        least_(values.flag("verify") ? threshold_ : 0),
        hash_(values.integer("permutations"), static_cast<std::uint32_t>(values.integer("seed"))),
        banding_(choose_banding(threshold_, hash_.permutations())),
        index_(banding_, hash_.permutations()) {}

  std::optional<Drop> inspect(const Row& row, Sketch& sketch) const override {
    const std::string text = normalise_text(row.text(part_));
    sketch =
        hash_.sign(words_ ? word_shingles(words_of(text), size_) : character_shingles(text, size_));
    return std::nullopt;
  }

  std::optional<Drop> decide(const Row& row, const Sketch& sketch) override {
    if (const auto match = index_.find(sketch, least_)) {
      const auto [source, line] = places_[match->index];
      return Drop{"near duplicate", fmt::format("{:.2f} similar to line {} of input {}",
                                                match->similarity, line, source + 1)};
    }
    index_.add(sketch);
    places_.emplace_back(row.source, row.line);
    return std::nullopt;
  }

  Json details() const override {
    Json curve = Json::array();
    for (int i = 1; i <= 9; ++i)
      curve.push_back(
          {{"similarity", i / 10.0}, {"candidate", candidate_probability(banding_, i / 10.0)}});
    return {{"bands", banding_.bands}, {"rows", banding_.rows}, {"curve", curve}};
  }

 private:
  RowPart part_;
  bool words_;
  std::size_t size_;
  double threshold_, least_;
  MinHash hash_;
  Banding banding_;
  LshIndex index_;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> places_;
};

}  // namespace

extern const Filter filter_minhash;
const Filter filter_minhash{
    .name = "minhash",
    .title = "The first of rows that are nearly the same (MinHash, LSH)",
    .source = "Broder 1997",
    .parameters = kParameters,
    .make = [](const FilterValues& values, const FilterContext&) {
      return std::unique_ptr<RowFilter>(std::make_unique<NearDuplicates>(values));
    }};

}  // namespace lancet
