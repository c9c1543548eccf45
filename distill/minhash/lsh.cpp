#include "distill/minhash/lsh.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "distill/minhash/signature.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

/// Area under `f` between a and b by Simpson's rule.
template <typename F>
double integrate(F f, double a, double b) {
  constexpr int kSteps = 400;
  const double h = (b - a) / kSteps;
  double sum = f(a) + f(b);
  for (int i = 1; i < kSteps; ++i) sum += f(a + h * i) * (i % 2 == 1 ? 4 : 2);
  return sum * h / 3;
}

}  // namespace

double candidate_probability(const Banding& banding, double similarity) noexcept {
  return 1 - std::pow(1 - std::pow(similarity, static_cast<double>(banding.rows)),
                      static_cast<double>(banding.bands));
}

Banding choose_banding(double threshold, std::size_t permutations) {
  Banding best;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t bands = 1; bands <= permutations; ++bands) {
    for (std::size_t rows = 1; rows <= permutations / bands; ++rows) {
      const Banding banding{bands, rows};
      const double wrong =
          integrate([&](double s) { return candidate_probability(banding, s); }, 0, threshold);
      const double missed =
          integrate([&](double s) { return 1 - candidate_probability(banding, s); }, threshold, 1);
      if (0.5 * wrong + 0.5 * missed < least) {
        least = 0.5 * wrong + 0.5 * missed;
        best = banding;
      }
    }
  }
  return best;
}

LshIndex::LshIndex(Banding banding, std::size_t permutations)
    : banding_(banding), permutations_(permutations), bands_(banding.bands) {}

std::uint64_t LshIndex::key(std::span<const std::uint32_t> signature, std::size_t band) const {
  const auto part = signature.subspan(band * banding_.rows, banding_.rows);
  return hash_text({reinterpret_cast<const char*>(part.data()), part.size_bytes()}, band);
}

std::size_t LshIndex::slot(const Band& band, std::uint64_t key) noexcept {
  const std::size_t mask = band.keys.size() - 1;
  std::size_t at = key & mask;
  while (band.heads[at] != kNone && band.keys[at] != key) at = (at + 1) & mask;
  return at;
}

void LshIndex::grow(Band& band) {
  Band larger;
  const std::size_t size = band.keys.empty() ? 1024 : 2 * band.keys.size();
  larger.keys.resize(size);
  larger.heads.assign(size, kNone);
  for (std::size_t i = 0; i < band.keys.size(); ++i) {
    if (band.heads[i] == kNone) continue;
    const std::size_t at = slot(larger, band.keys[i]);
    larger.keys[at] = band.keys[i];
    larger.heads[at] = band.heads[i];
  }
  band.keys = std::move(larger.keys);
  band.heads = std::move(larger.heads);
}

std::optional<LshIndex::Match> LshIndex::find(std::span<const std::uint32_t> signature,
                                              double threshold) const {
  std::optional<Match> best;
  for (std::size_t b = 0; b < bands_.size(); ++b) {
    const Band& band = bands_[b];
    if (band.keys.empty()) continue;
    for (std::uint32_t at = band.heads[slot(band, key(signature, b))]; at != kNone;
         at = band.next[at]) {
      const double value = similarity(
          {signatures_.data() + std::size_t{at} * permutations_, permutations_}, signature);
      if (value < threshold) continue;
      if (!best || value > best->similarity || (value == best->similarity && at < best->index))
        best = Match{at, value};
    }
  }
  return best;
}

void LshIndex::add(std::span<const std::uint32_t> signature) {
  if (size_ + 1 >= kNone)
    fail(ErrorKind::kResource, "minhash", "expected at most 4294967294 rows to keep, found more");
  for (std::size_t b = 0; b < bands_.size(); ++b) {
    Band& band = bands_[b];
    if (2 * (size_ + 1) > band.keys.size()) grow(band);
    const std::uint64_t value = key(signature, b);
    const std::size_t at = slot(band, value);
    band.next.push_back(band.heads[at]);
    band.keys[at] = value;
    band.heads[at] = static_cast<std::uint32_t>(size_);
  }
  signatures_.insert(signatures_.end(), signature.begin(), signature.end());
  ++size_;
}

}  // namespace lancet
