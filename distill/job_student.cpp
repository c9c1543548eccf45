// The student's blocks of distill/job_reader.h.

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "distill/job_reader.h"

namespace lancet {

JobSettings JobReader::settings(const Node& node, std::string_view what) const {
  if (node.kind != Node::Kind::kMapping)
    refuse(node, fmt::format("{}: expected a mapping of keys to values", what));
  JobSettings out;
  for (const auto& [key, value] : node.entries) {
    JobSetting setting{.key = key.scalar, .values = {}, .line = key.line, .column = key.column};
    const std::string name = fmt::format("{}: {}", what, printable(key.scalar, 60));
    if (value.kind == Node::Kind::kMapping) {
      for (const auto& [inner, text_node] : value.entries)
        setting.values.push_back(inner.scalar + "=" + text(text_node, name));
    } else if (what == "train" && (key.scalar == "teacher" || key.scalar == "init")) {
      setting.values = {path(value, name).string()};
    } else {
      setting.values = texts(value, name);
    }
    out.push_back(std::move(setting));
  }
  return out;
}

namespace {

std::string place_of(const Node& node) { return fmt::format("{}:{}", node.line, node.column); }

}  // namespace

StudentBlock JobReader::student(const Node& node) const {
  keys(node, {"model", "name", "licence"});
  StudentBlock out;
  const Node* model = node.find("model");
  if (model == nullptr) refuse(node, "student: 'model' is missing");
  out.model = path(*model, "model").string();
  out.place = place_of(*model);
  if (const Node* found = node.find("name")) out.name = text(*found, "name");
  if (const Node* found = node.find("licence")) out.licence = text(*found, "licence");
  return out;
}

EvaluateBlock JobReader::evaluate(const Node& node) const {
  EvaluateBlock out;
  if (node.kind == Node::Kind::kNull) return out;
  keys(node, {"perplexity", "rows"});
  if (const Node* found = node.find("perplexity")) {
    out.texts = paths(*found, "perplexity");
    out.texts_place = place_of(*found);
  }
  if (const Node* found = node.find("rows")) {
    out.rows = paths(*found, "rows");
    out.rows_place = place_of(*found);
  }
  return out;
}

}  // namespace lancet
