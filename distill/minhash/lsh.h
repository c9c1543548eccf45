#pragma once
// Locality sensitive hashing of MinHash signatures: two texts are candidates when all values of one
// of `bands` runs of `rows` values are equal, P = 1 - (1 - s^rows)^bands.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lancet {

struct Banding {
  std::size_t bands = 0, rows = 0;
};
/// bands and rows, bands * rows <= permutations, with the least error: the area of P below the
/// threshold (false candidates) plus that of 1 - P above it (missed pairs), equally weighted: what
/// datasketch chooses.
[[nodiscard]] Banding choose_banding(double threshold, std::size_t permutations);
/// 1 - (1 - s^rows)^bands.
[[nodiscard]] double candidate_probability(const Banding& banding, double similarity) noexcept;

/// Signatures that were kept, found by band. Memory: 4 bytes a value and about 16 a band, for each.
class LshIndex {
 public:
  LshIndex(Banding banding, std::size_t permutations);
  /// The kept signature most similar to this one, of those that are candidates and at least
  /// `threshold` similar by all their values; the first of equally similar ones.
  struct Match {
    std::size_t index;
    double similarity;
  };
  [[nodiscard]] std::optional<Match> find(std::span<const std::uint32_t> signature,
                                          double threshold) const;
  /// Keeps it, under the next index.
  void add(std::span<const std::uint32_t> signature);
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::uint32_t kNone = 0xffffffffU;
  /// Open addressing: band key -> last index added; earlier ones through `next`.
  struct Band {
    std::vector<std::uint64_t> keys;
    std::vector<std::uint32_t> heads;
    std::vector<std::uint32_t> next;
  };
  Banding banding_;
  std::size_t permutations_;
  std::size_t size_ = 0;
  std::vector<std::uint32_t> signatures_;
  std::vector<Band> bands_;

  [[nodiscard]] std::uint64_t key(std::span<const std::uint32_t> signature, std::size_t band) const;
  [[nodiscard]] static std::size_t slot(const Band& band, std::uint64_t key) noexcept;
  static void grow(Band& band);
};

}  // namespace lancet
