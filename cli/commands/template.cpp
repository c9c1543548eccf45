// lancet template: renders the chat template of a model.

#include <CLI/CLI.hpp>

#include "cli/chat.h"
#include "cli/output.h"
#include "core/log.h"
#include "formats/template/chat_format.h"

namespace lancet {
namespace {

struct TemplateOptions {
  std::string model, messages, tools;
  bool add_generation_prompt = false, spans = false;
};

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<TemplateOptions>();
  app.add_option("MODEL", options->model, "Any readable model with a chat template")->required();
  app.add_option("--messages", options->messages,
                 "JSON array of messages, or an object with \"messages\"")
      ->required();
  app.add_option("--tools", options->tools, "JSON array of tool definitions");
  app.add_flag("--add-generation-prompt", options->add_generation_prompt,
               "End where the assistant begins to speak");
  app.add_flag("--spans", options->spans,
               "The byte ranges that the assistant spoke ({% generation %} blocks)");
  return [options, &common] {
    const auto source = ModelSource::open(options->model);
    std::optional<Json> tools;
    if (!options->tools.empty()) tools = read_json(options->tools);
    const Json messages = read_json(options->messages);
    const auto rendered = render_chat(source, messages, tools, options->add_generation_prompt);
    const Json marked = tools ? Json{{"tools", *tools}} : messages;
    if (options->spans && !ChatFormat::of(source)->marks_turns(marked))
      log::warn("template: it has no {% generation %} blocks, which --spans tells of: no spans");
    Json spans = Json::array();
    for (const auto& [begin, end] : rendered.spans) spans.push_back({begin, end});
    if (common.json) {
      print_json({{"text", rendered.text}, {"spans", spans}});
    } else {
      print_text(options->spans ? rendered.text + "\n" + spans.dump() + "\n" : rendered.text);
    }
    return 0;
  };
}

}  // namespace

extern const Command command_template{
    .name = "template",
    .group = "Running a model",
    .summary = "Render the chat template over a conversation",
    .examples =
        "  lancet template model/ --messages chat.json --add-generation-prompt\n"
        "  lancet template model/ --messages chat.json --tools tools.json --spans --json",
    .declare = declare};

}  // namespace lancet
