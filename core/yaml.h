#pragma once
// A YAML (or JSON) document whose every node knows its line and column, for recipes and job files
// whose errors must point at the place. Duplicate keys, anchors that expand beyond a bound, and
// tags are refused.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lancet {

struct Node {
  // Special members stand in yaml_node.cpp, where Node is complete: it holds pairs of itself.
  Node();
  Node(const Node&);
  Node(Node&&) noexcept;
  Node& operator=(const Node&);
  Node& operator=(Node&&) noexcept;
  ~Node();

  enum class Kind { kNull, kScalar, kSequence, kMapping };
  Kind kind = Kind::kNull;
  std::string scalar;                          ///< text of a scalar
  bool quoted = false;                         ///< "12" is a string, 12 a number
  std::vector<Node> items;                     ///< sequence elements
  std::vector<std::pair<Node, Node>> entries;  ///< mapping entries in order (keys are scalars)
  int line = 0;                                ///< 1-based
  int column = 0;                              ///< 1-based

  [[nodiscard]] const Node* find(std::string_view key) const noexcept;
  [[nodiscard]] std::optional<double> number() const noexcept;
  [[nodiscard]] std::optional<std::int64_t> integer() const noexcept;
  [[nodiscard]] std::optional<bool> boolean() const noexcept;
};

/// All documents of a stream. Throws Error(kUsage) "FILE:line:column: ...".
[[nodiscard]] std::vector<Node> parse_yaml(std::string_view text, std::string_view source);

/// Refuses keys outside `known` with line, column and "did you mean".
void check_keys(const Node& mapping, const std::vector<std::string_view>& known,
                std::string_view source);

}  // namespace lancet
