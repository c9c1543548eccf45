#include "distill/job.h"

#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "distill/job_reader.h"

namespace lancet {
namespace {

using Kind = DataParameter::Kind;

Json options_json(const DataRecipe& recipe, const DataOptions& options) {
  Json out = Json::object();
  for (std::size_t i = 0; i < recipe.parameters.size(); ++i) {
    const DataParameter& each = recipe.parameters[i];
    if (each.kind == Kind::kWord) {
      out[each.name] = options.words[i];
    } else if (each.kind == Kind::kFlag) {
      out[each.name] = options.numbers[i] != 0;
    } else if (each.kind == Kind::kInteger) {
      out[each.name] = static_cast<std::int64_t>(options.numbers[i]);
    } else {
      out[each.name] = options.numbers[i];
    }
  }
  return out;
}

}  // namespace

DataOptions JobReader::options(const Node& node, const DataRecipe& recipe) const {
  std::vector<std::string_view> known;
  for (const DataParameter& each : recipe.parameters) known.push_back(each.name);
  keys(node, known);
  DataOptions out = default_options(recipe);
  for (std::size_t i = 0; i < recipe.parameters.size(); ++i) {
    const DataParameter& each = recipe.parameters[i];
    const Node* found = node.find(each.name);
    if (found == nullptr) continue;
    if (each.kind == Kind::kFlag) {
      out.numbers[i] = flag(*found, each.name) ? 1 : 0;
    } else if (each.kind == Kind::kWord) {
      out.words[i] = text(*found, each.name);
      const auto& choices = each.choices;
      const bool allowed = choices.empty() ||
                           std::find(choices.begin(), choices.end(), out.words[i]) != choices.end();
      if (!allowed)
        refuse(*found, fmt::format("{}: '{}' is no choice", each.name, printable(out.words[i])),
               fmt::format("known: {}", fmt::join(choices, ", ")));
    } else {
      out.numbers[i] = number(*found, each.name, each.minimum, each.maximum);
      if (each.kind == Kind::kInteger && out.numbers[i] != std::floor(out.numbers[i]))
        refuse(*found, fmt::format("{}: expected a whole number", each.name));
    }
  }
  return out;
}

DataBlock JobReader::data(const Node& node) const {
  keys(node, {"recipe", "seeds", "samples", "limit", "prompts", "options", "rows"});
  DataBlock out;
  if (const Node* rows = node.find("rows")) {
    for (const auto& [key, value] : node.entries) {
      if (key.scalar != "rows")
        refuse(key, fmt::format("data: '{}' asks for data, 'rows' says where it is", key.scalar));
    }
    out.rows = paths(*rows, "rows");
    return out;
  }
  const Node* recipe = node.find("recipe");
  const std::string name = recipe != nullptr ? text(*recipe, "recipe") : "instruct";
  try {
    out.recipe = &find_data_recipe(name);
  } catch (const Error& error) {
    refuse(recipe != nullptr ? *recipe : node, error.message(), error.hint());
  }
  const Node* seeds = node.find("seeds");
  if (seeds == nullptr && !out.recipe->needs.empty())
    refuse(node, fmt::format("data: 'seeds' is missing, and {} needs them", name));
  if (seeds != nullptr) out.seeds = paths(*seeds, "seeds");
  if (const Node* found = node.find("samples"))
    out.samples = static_cast<std::uint32_t>(whole(*found, "samples", 1, 65535));
  if (const Node* found = node.find("limit")) out.limit = whole(*found, "limit", 1, 1ULL << 40);
  if (const Node* found = node.find("prompts")) out.prompts = path(*found, "prompts");
  const Node* given = node.find("options");
  out.options = given != nullptr ? options(*given, *out.recipe) : default_options(*out.recipe);
  return out;
}

Job read_job(const fs::path& path) {
  return parse_job(read_file(path, 16 << 20), path.string(), path.parent_path());
}

Job parse_job(std::string_view text, std::string_view source, const fs::path& folder) {
  const auto documents = parse_yaml(text, source);
  const JobReader reader{std::string(source), folder};
  if (documents.size() != 1)
    fail(ErrorKind::kUsage, "job",
         fmt::format("{}: expected one document, found {}", printable(source), documents.size()));
  const Node& root = documents.front();
  reader.keys(root, {"name", "seed", "teacher", "data", "curate", "student", "train", "evaluate",
                     "output"});
  Job out;
  out.source = source;
  if (const Node* found = root.find("name")) out.name = reader.text(*found, "name");
  if (const Node* found = root.find("seed")) out.seed = reader.whole(*found, "seed", 0, INT64_MAX);
  const Node* data = root.find("data");
  if (data == nullptr) reader.refuse(root, "'data' is missing");
  out.data = reader.data(*data);
  if (const Node* teacher = root.find("teacher")) {
    if (!out.data.rows.empty())
      reader.refuse(*teacher, "teacher: 'data' has rows already, nobody is asked");
    out.teacher = reader.teacher(*teacher);
  } else if (out.data.rows.empty()) {
    reader.refuse(root, "'teacher' is missing");
  }
  if (const Node* found = root.find("output")) out.output = reader.path(*found, "output");
  if (const Node* found = root.find("curate")) out.curate = reader.settings(*found, "curate");
  if (const Node* found = root.find("student")) out.student = reader.student(*found);
  if (const Node* found = root.find("train")) out.train = reader.settings(*found, "train");
  if (const Node* found = root.find("evaluate")) out.evaluate = reader.evaluate(*found);
  return out;
}

fs::path dataset_path(const Job& job) {
  if (job.output.empty() || job.output.has_extension()) return job.output;
  return job.output / "data.jsonl";
}

Json job_json(const Job& job) {
  const TeacherBlock& teacher = job.teacher;
  Json seeds = Json::array();
  for (const fs::path& each : job.data.seeds) seeds.push_back(each.string());
  Json asked{{"url", teacher.urls},
             {"model", teacher.model},
             {"sampling", teacher.sampling},
             {"send_seed", teacher.send_seed},
             {"extra", teacher.extra}};
  if (teacher.logprobs) asked["logprobs"] = teacher.top_logprobs;
  if (!teacher.licence.empty()) asked["licence"] = teacher.licence;
  return {{"name", job.name},
          {"seed", job.seed},
          {"teacher", std::move(asked)},
          {"data",
           {{"recipe", job.data.recipe->name},
            {"seeds", std::move(seeds)},
            {"samples", job.data.samples},
            {"limit", job.data.limit},
            {"options", options_json(*job.data.recipe, job.data.options)}}}};
}

}  // namespace lancet
