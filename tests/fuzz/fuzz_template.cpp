// libFuzzer target: any bytes as a template, rendered on a small conversation, either give text of
// bounded size with ordered spans inside it, the same each time, or are an input error.
// Seeds: tests/data/templates/*.jinja.

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/text.h"
#include "formats/template/chat_template.h"
#include "tests/fuzz/broken.h"

namespace {

using lancet::Json;

using lancet::fuzz::broken;

const Json& conversation() {
  static const Json context = {
      {"messages",
       {{{"role", "system"}, {"content", "Be b\u00e9."}},
        {{"role", "user"}, {"content", "Hi"}},
        {{"role", "assistant"},
         {"content", nullptr},
         {"tool_calls", {{{"function", {{"name", "f"}}}}}}}}},
      {"tools",
       {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", {{"a", 1.5}}}}}}}},
      {"documents", nullptr},
      {"add_generation_prompt", true},
      {"bos_token", "<s>"}};
  return context;
}

void check(const lancet::Rendered& rendered, const lancet::TemplateLimits& limits) {
  if (rendered.text.size() > limits.output_bytes) broken("the text keeps its bound");
  if (lancet::find_invalid_utf8(rendered.text)) broken("the text is UTF-8");
  for (const auto& [from, to] : rendered.spans) {
    if (from > to || to > rendered.text.size()) broken("spans lie inside the text");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const lancet::TemplateLimits limits{.steps = 100'000, .output_bytes = 1U << 20, .depth = 60};
  try {
    const lancet::ChatTemplate compiled(source, limits);
    const lancet::Rendered first = compiled.render(conversation(), 1'000'000'000);
    check(first, limits);
    const lancet::Rendered second = compiled.render(conversation(), 1'000'000'000);
    if (first.text != second.text || first.spans != second.spans)
      broken("rendering repeats itself");
  } catch (const lancet::Error& error) {
    if (error.kind() != lancet::ErrorKind::kInput) broken("errors are input errors");
  }
  return 0;
}
