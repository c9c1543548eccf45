#pragma once
// OpenAI batch files: requests out as JSON lines, answers back in, for teachers that nobody reaches
// live (hosted batch queues, `vllm run-batch` on another machine).
//
// Out: DIR/batch-00001.jsonl, ... of at most 50,000 requests and 100,000,000 bytes, lines
// {"custom_id": request key, "method": "POST", "url": "/v1/...", "body": {...}}.
// In: every other *.jsonl in DIR whose lines have custom_id and response or error.

#include <cstdint>
#include <filesystem>
#include <string>

#include "distill/teacher/budget.h"
#include "distill/teacher/journal.h"
#include "distill/teacher/request.h"

namespace lancet {

struct BatchLimits {
  std::uint64_t requests = 50'000;
  std::uint64_t bytes = 100'000'000;
};

struct BatchCounts {
  std::uint64_t answered = 0;  ///< answers taken in now
  std::uint64_t failed = 0;    ///< of these, errors that another try may heal: to be written again
  std::uint64_t unknown = 0;   ///< lines for requests that no batch file of ours holds
  std::uint64_t pending = 0;   ///< written earlier, not answered yet
  std::uint64_t written = 0;   ///< written now
  std::uint64_t files = 0;     ///< of these
};

class BatchFolder {
 public:
  /// Reads what lies in `folder` (made when missing): requests written so far, and answers, which
  /// go into the journal. kInput for lines that are neither, with file and line.
  BatchFolder(std::filesystem::path folder, std::string model, Journal& journal, Budget& budget,
              BatchLimits limits = {});
  ~BatchFolder();
  BatchFolder(const BatchFolder&) = delete;
  BatchFolder& operator=(const BatchFolder&) = delete;

  /// A request without an answer: written into the next file unless it waits in an earlier one.
  void add(const TeacherRequest& request, const std::string& key);
  /// Completes the files written by add(). Until then nothing appears under its name.
  BatchCounts commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet
