#pragma once
// All pieces of a vocabulary that begin at a place of a text, in one walk.

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "formats/tokenizer/vocabulary.h"

namespace lancet {

/// A byte trie whose children lie side by side: built from sorted pieces in linear time.
class PieceTrie {
 public:
  PieceTrie() = default;
  /// The pieces that begin with `prefix`, without it; not those that are `hidden` (by id, may be
  /// empty). Error(kInput) when the vocabulary has more than 32 MiB.
  PieceTrie(const Vocabulary& vocabulary, std::string_view prefix, const std::vector<bool>& hidden,
            const Where& where);

  /// Calls `found(length, id)` for each piece (none empty) that `text` begins with, shortest first.
  /// Returns the number of nodes it looked at.
  template <typename Found>
  std::size_t prefixes(std::string_view text, Found&& found) const {
    if (text.empty()) return 0;
    std::uint32_t node = roots_[static_cast<std::uint8_t>(text[0])];
    std::size_t length = 1;
    for (; node != kNone; ++length) {
      if (nodes_[node].id >= 0) found(length, nodes_[node].id);
      if (length == text.size()) break;
      node = child(nodes_[node], static_cast<std::uint8_t>(text[length]));
    }
    return length;
  }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::uint16_t kScanned = 8;  ///< more children than these are searched by memchr

  struct Node {
    std::uint32_t children = 0;  ///< index of the first child
    std::uint16_t count = 0;     ///< of children
    std::uint8_t byte = 0;
    TokenId id = -1;  ///< the piece that ends here, or -1
  };

  [[nodiscard]] std::uint32_t child(const Node& node, std::uint8_t byte) const noexcept {
    if (node.count > kScanned) {
      const void* found = std::memchr(bytes_.data() + node.children, byte, node.count);
      if (found == nullptr) return kNone;
      return static_cast<std::uint32_t>(static_cast<const std::uint8_t*>(found) - bytes_.data());
    }
    const std::uint32_t end = node.children + node.count;
    for (std::uint32_t at = node.children; at < end; ++at) {
      if (bytes_[at] == byte) return at;
    }
    return kNone;
  }

  std::vector<Node> nodes_;
  std::vector<std::uint8_t> bytes_;  ///< of each node, close together for the search
  std::array<std::uint32_t, 256> roots_ = filled();

  static constexpr std::array<std::uint32_t, 256> filled() {
    std::array<std::uint32_t, 256> out{};
    out.fill(kNone);
    return out;
  }
};

}  // namespace lancet
