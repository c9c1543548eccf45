// lancet list: what this build can do, from the same tables that do it.

#include <CLI/CLI.hpp>
#include <cmath>

#include "cli/engine.h"
#include "cli/factory.h"
#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/template/chat_template.h"
#include "merge/chat_template.h"
#include "merge/method.h"

namespace lancet {
namespace {

Json formats_json() {
  const auto row = [](const char* name, const char* title, bool read, bool write) {
    return Json{{"name", name}, {"title", title}, {"read", read}, {"write", write}};
  };
  return Json::array(
      {row("huggingface", "Directory of safetensors with config and tokenizer, single or sharded",
           true, true),
       row("safetensors", "One .safetensors file", true, true),
       row("torch",
           "pytorch_model.bin, single or sharded, and adapter_model.bin (torch 1.6 and later)",
           true, false),
       row("gguf", "GGUF v2/v3; writes F32, F16, BF16 and Q8_0", true, true)});
}

/// Merge methods, with the parameters that a recipe may set.
Json methods_json() {
  Json rows = Json::array();
  for (const Method* method : merge_method_registry()) {
    Json parameters = Json::array();
    for (const MergeParameter& p : method->parameters) {
      Json row{{"name", p.name},
               {"default", std::isnan(p.fallback) ? Json() : Json(p.fallback)},
               {"minimum", p.minimum},
               {"maximum", p.maximum},
               {"per_model", p.per_model},
               {"help", p.help}};
      if (p.kind == MergeParameter::Kind::kWord) {
        row["default"] = p.choices[static_cast<std::size_t>(p.fallback)];
        row["choices"] = p.choices;
        row.erase("minimum");
        row.erase("maximum");
      }
      parameters.push_back(std::move(row));
    }
    rows.push_back({{"name", method->name},
                    {"title", method->title},
                    {"paper", method->paper},
                    {"needs_base", method->base == BaseUse::kRequired},
                    {"parameters", parameters}});
  }
  return rows;
}

/// The chat templates that a merge recipe may name, with what they make of a short talk.
Json templates_json() {
  const Json talk = Json::array(
      {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Hello"}}});
  Json rows = Json::array();
  for (const std::string_view name : known_chat_templates()) {
    if (name == "auto") continue;
    const std::string text = choose_chat_template(std::string(name), {});
    const std::string shown =
        ChatTemplate(text)
            .render({{"messages", talk}, {"bos_token", "<s>"}, {"eos_token", "</s>"}}, 0)
            .text;
    rows.push_back({{"name", name}, {"title", printable(shown, 200)}, {"template", text}});
  }
  return rows;
}

const std::vector<std::string> kKinds{"methods", "editors", "architectures", "formats",
                                      "recipes", "filters", "losses",        "templates"};

Json rows_of(const std::string& kind, const RuntimeOptions& runtime) {
  if (kind == "formats") return formats_json();
  if (kind == "methods") return methods_json();
  if (kind == "templates") return templates_json();
  if (kind == "recipes") return open_factory().recipes();
  if (kind == "filters") return open_factory().filters();
  return open_engine(runtime).list(kind);
}

std::string table_text(const Json& rows) {
  Table table({{"name"}, {"title"}, {"source"}});
  for (const auto& row : rows) table.add({row["name"], row["title"], row.value("paper", "")});
  return table.text();
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto what = std::make_shared<std::string>();
  app.add_option("WHAT", *what,
                 "methods, editors, architectures, formats, recipes, filters, losses or templates "
                 "(default: all)")
      ->check(CLI::IsMember(kKinds));
  return [what, &common] {
    Json document = Json::object();
    for (const auto& kind : kKinds) {
      if (!what->empty() && *what != kind) continue;
      document[kind] = rows_of(kind, common.runtime);
    }
    if (common.json) {
      print_json(document);
    } else {
      for (const auto& [kind, rows] : document.items())
        print_text(kind + "\n" + table_text(rows) + "\n");
    }
    return 0;
  };
}

}  // namespace

extern const Command command_list{
    .name = "list",
    .group = "Help",
    .summary =
        "Merge methods, editors, architectures, formats, data recipes, filters, losses and chat "
        "templates of this build",
    .examples = "  lancet list\n  lancet list editors --json",
    .declare = declare};

}  // namespace lancet
