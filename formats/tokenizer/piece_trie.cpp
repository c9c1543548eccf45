#include "formats/tokenizer/piece_trie.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace lancet {
namespace {

constexpr std::size_t kBytesLimit = 32U << 20U;

/// Sorted pieces [begin, end) that share their first `depth` bytes.
struct Range {
  std::uint32_t begin;
  std::uint32_t end;
  std::uint32_t depth;
};

}  // namespace

// Breadth first: the children of a node are appended together.
PieceTrie::PieceTrie(const Vocabulary& vocabulary, std::string_view prefix,
                     const std::vector<bool>& hidden, const Where& where) {
  if (vocabulary.bytes() > kBytesLimit) {
    where.fail_input(fmt::format("the pieces have {} bytes together, expected at most {}",
                                 vocabulary.bytes(), kBytesLimit));
  }
  std::vector<std::pair<std::string_view, TokenId>> pieces;
  pieces.reserve(vocabulary.size());
  for (const TokenId id : vocabulary.ids()) {
    if (!hidden.empty() && hidden[static_cast<std::size_t>(id)]) continue;
    const std::string_view piece = vocabulary.piece(id).value_or("");
    if (piece.size() > prefix.size() && piece.starts_with(prefix))
      pieces.emplace_back(piece.substr(prefix.size()), id);
  }
  std::sort(pieces.begin(), pieces.end());
  std::vector<Range> ranges;  // of each node
  const auto add_children = [&](const Range& range) {
    for (std::uint32_t begin = range.begin; begin < range.end;) {
      const char byte = pieces[begin].first[range.depth];
      std::uint32_t end = begin + 1;
      while (end < range.end && pieces[end].first[range.depth] == byte) ++end;
      Node node;
      node.byte = static_cast<std::uint8_t>(byte);
      std::uint32_t longer = begin;
      if (pieces[begin].first.size() == range.depth + 1) node.id = pieces[longer++].second;
      nodes_.push_back(node);
      bytes_.push_back(node.byte);
      ranges.push_back({longer, end, range.depth + 1});
      begin = end;
    }
  };
  add_children({0, static_cast<std::uint32_t>(pieces.size()), 0});
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) roots_[nodes_[i].byte] = i;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    const auto first = static_cast<std::uint32_t>(nodes_.size());
    add_children(Range(ranges[i]));
    nodes_[i].children = first;
    nodes_[i].count = static_cast<std::uint16_t>(nodes_.size() - first);
  }
}

}  // namespace lancet
