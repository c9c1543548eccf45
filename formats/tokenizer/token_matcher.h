#pragma once
// Finds many literals in a text at once, leftmost first and of those the longest, in time linear in
// the text.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lancet {

/// Aho & Corasick 1975 on the reversed literals, run from the end of the text: the state at a
/// position then knows the longest literal that begins there, and a walk from the left takes the
/// leftmost of them.
class TokenMatcher {
 public:
  struct Match {
    std::size_t begin;
    std::size_t end;
    std::uint32_t literal;  ///< index in the constructor's list
  };

  TokenMatcher() = default;
  /// Of equal literals the first counts; empty ones never match. At most 2^31 bytes in all.
  explicit TokenMatcher(const std::vector<std::string>& literals);

  [[nodiscard]] bool empty() const noexcept { return nodes_.size() <= 1; }
  /// Matches that do not overlap, in order.
  [[nodiscard]] std::vector<Match> find(std::string_view text) const;

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  struct Node {
    std::uint32_t child = 0;        ///< first child, 0: none
    std::uint32_t sibling = 0;      ///< next child of the parent, 0: none
    std::uint32_t fail = 0;         ///< node of the longest proper suffix
    std::uint32_t literal = kNone;  ///< longest literal that ends here (reversed: begins here)
    std::uint8_t byte = 0;
  };

  void insert(std::string_view literal, std::uint32_t index);
  void link();
  [[nodiscard]] std::uint32_t child_of(std::uint32_t node, std::uint8_t byte) const noexcept;
  [[nodiscard]] std::uint32_t step(std::uint32_t node, std::uint8_t byte) const noexcept;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<std::uint32_t, 256> root_{};  ///< children of the root
  std::vector<std::uint32_t> lengths_;
};

}  // namespace lancet
