#pragma once
// Guesses of what a text says next, for a model that reads several tokens in the time of one: what
// followed the last time the same two to four tokens stood there (prompt lookup decoding, a form of
// speculative decoding: Leviathan et al. 2023, arXiv:2211.17192). Wrong guesses cost time, never a
// token: who asks compares them with what the model says.

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lancet {

class Lookup {
 public:
  /// Begins behind these tokens.
  explicit Lookup(std::span<const std::int32_t> text);

  /// The text goes on with it.
  void see(std::int32_t id);
  /// At most `most` tokens that may follow. None where nothing like the last two stood before, or
  /// while guessing rests because it did not pay.
  [[nodiscard]] std::vector<std::int32_t> guess(std::int64_t most);
  /// So many of the last guess, which had `guessed` > 0 tokens, came true. Guesses grow while they
  /// do; after wrong ones they rest, each time for longer.
  void learn(std::size_t guessed, std::size_t right);

 private:
  static constexpr std::size_t kShortest = 2, kLongest = 4;  ///< tokens that have to be alike

  [[nodiscard]] std::uint64_t key(std::size_t length) const;
  [[nodiscard]] std::size_t find(std::size_t length) const;

  std::vector<std::int32_t> text_;
  /// By the hash of so many tokens: where the token behind their last place is.
  std::array<std::unordered_map<std::uint64_t, std::size_t>, kLongest - kShortest + 1> places_;
  std::int64_t length_ = 2;  ///< of the next guess
  std::int64_t rest_ = 0;    ///< guesses to leave out
  int failures_ = 0;         ///< one after the other
};

}  // namespace lancet
