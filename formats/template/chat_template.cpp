#include "formats/template/chat_template.h"

#include "core/error.h"
#include "core/text.h"
#include "formats/template/interpreter.h"
#include "formats/template/parser.h"

namespace lancet {
namespace {

constexpr std::size_t kMaximumSource = 1U << 20;  ///< real templates are below 32 KiB

std::string_view check_source(std::string_view source) {
  if (source.size() > kMaximumSource) {
    fail(ErrorKind::kInput, "chat template",
         "expected at most " + std::to_string(kMaximumSource) + " bytes of template, found " +
             std::to_string(source.size()));
  }
  if (const auto bad = find_invalid_utf8(source)) {
    fail(ErrorKind::kInput, "chat template",
         "expected UTF-8, found another byte at offset " + std::to_string(*bad));
  }
  return source;
}

}  // namespace

struct ChatTemplate::Impl {
  Impl(std::string_view source, TemplateLimits bounds)
      : limits(bounds), program(jinja::parse_template(check_source(source), bounds.depth)) {}
  TemplateLimits limits;
  jinja::Program program;
};

ChatTemplate::ChatTemplate(std::string_view source, TemplateLimits limits)
    : impl_(std::make_unique<Impl>(source, limits)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

Rendered ChatTemplate::render(const Json& context, std::int64_t now) const {
  jinja::Runtime runtime(impl_->limits, now);
  return jinja::Interpreter(impl_->program, runtime, context).render();
}

}  // namespace lancet
