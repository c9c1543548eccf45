// Scalars and paths of distill/job_reader.h.

#include "distill/job_reader.h"

#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/plain_path.h"
#include "core/text.h"

namespace lancet {
namespace {

std::string shown(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kScalar:
      return "'" + printable(node.scalar, 60) + "'";
    case Node::Kind::kSequence:
      return "a list";
    default:
      return "a mapping";
  }
}

}  // namespace

void JobReader::refuse(const Node& node, const std::string& message, std::string hint) const {
  fail(ErrorKind::kUsage, "job",
       fmt::format("{}:{}:{}: {}", printable(source_), node.line, node.column, message),
       std::move(hint));
}

std::string JobReader::text(const Node& node, std::string_view what) const {
  if (node.kind != Node::Kind::kScalar || node.scalar.empty())
    refuse(node, fmt::format("{}: expected a text, found {}", what, shown(node)));
  return node.scalar;
}

bool JobReader::flag(const Node& node, std::string_view what) const {
  const auto value = node.boolean();
  if (!value) refuse(node, fmt::format("{}: expected true or false, found {}", what, shown(node)));
  return *value;
}

double JobReader::number(const Node& node, std::string_view what, double least, double most) const {
  const auto value = node.number();
  if (!value || !(*value >= least && *value <= most))
    refuse(node, fmt::format("{}: expected a number from {} to {}, found {}", what, least, most,
                             shown(node)));
  return *value;
}

std::uint64_t JobReader::whole(const Node& node, std::string_view what, std::uint64_t least,
                               std::uint64_t most) const {
  const auto value = node.integer();
  if (!value || *value < 0 || static_cast<std::uint64_t>(*value) < least ||
      static_cast<std::uint64_t>(*value) > most)
    refuse(node, fmt::format("{}: expected a whole number from {} to {}, found {}", what, least,
                             most, shown(node)));
  return static_cast<std::uint64_t>(*value);
}

std::filesystem::path JobReader::path(const Node& node, std::string_view what) const {
  return plain_path(folder_ / text(node, what));
}

std::vector<std::string> JobReader::texts(const Node& node, std::string_view what) const {
  if (node.kind != Node::Kind::kSequence) return {text(node, what)};
  std::vector<std::string> out;
  for (const Node& each : node.items) out.push_back(text(each, what));
  if (out.empty()) refuse(node, fmt::format("{}: expected at least one, found none", what));
  return out;
}

std::vector<std::filesystem::path> JobReader::paths(const Node& node, std::string_view what) const {
  std::vector<std::filesystem::path> out;
  for (const std::string& each : texts(node, what)) out.push_back(plain_path(folder_ / each));
  return out;
}

Json JobReader::json(const Node& node) const {
  switch (node.kind) {
    case Node::Kind::kNull:
      return nullptr;
    case Node::Kind::kSequence: {
      Json out = Json::array();
      for (const Node& each : node.items) out.push_back(json(each));
      return out;
    }
    case Node::Kind::kMapping: {
      Json out = Json::object();
      for (const auto& [key, value] : node.entries) out[key.scalar] = json(value);
      return out;
    }
    default:
      break;
  }
  if (const auto value = node.boolean()) return *value;
  if (const auto value = node.integer()) return *value;
  if (const auto value = node.number(); value && std::isfinite(*value)) return *value;
  return node.scalar;
}

}  // namespace lancet
