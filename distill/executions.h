#pragma once
// Generated programs on their way through the sandbox, beside the questions to the teacher. What
// came out is kept in the journal like an answer: a rerun neither runs it again nor sees another
// result.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "distill/teacher/answer.h"
#include "distill/teacher/request.h"

namespace lancet {

/// {"language", "program"} as a request that the sandbox answers. `sample` tells repeated runs
/// apart.
[[nodiscard]] TeacherRequest execution_request(std::string_view language,
                                               const std::string& program, std::uint32_t sample);

class ExecutionPool {
 public:
  using Done = std::function<void(const TeacherAnswer&)>;

  /// Opened by the first start(): Error(kResource) where no sandbox stands.
  ExecutionPool();
  ~ExecutionPool();
  ExecutionPool(const ExecutionPool&) = delete;
  ExecutionPool& operator=(const ExecutionPool&) = delete;

  /// `done` is called by a later drain(): text is "ok" or the verdict's name, message what the
  /// program wrote (standard output, then error, each cut to its head and tail).
  void start(const TeacherRequest& request, Done done);
  /// Calls what is done; rethrows what a run has thrown (kUsage for an unknown language, kResource
  /// for a missing compiler or a sandbox that does not stand).
  void drain();
  [[nodiscard]] std::size_t active() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet
