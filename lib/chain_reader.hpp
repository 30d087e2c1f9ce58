// Reads the await chain of a task from another thread. The task is held in place meanwhile: its park word is
// taken from parked, shielded or calling to `inspected`, and claims wait until it is put back. Callers hold the lock of
// the context that the task is enrolled with, so the task can not have gone.
#pragma once

#include <leat/inspect.hpp>
#include <leat/task.hpp>

#include <string>
#include <vector>

namespace leat::detail {

class chain_reader {
public:
    /// Id, name and spawn place, which stay as they are.
    static inspect::task_info read_head(const task_root& root);
    static inspect::task_info read(task_root& root);

private:
    static void read_chain(task_root& root, inspect::task_info& into);
};

#if LEAT_REGISTRY
inspect::frame_info describe_place(location place);
#endif

/// As reports have it: `task 7 "name"`.
std::string title(const inspect::task_info& task);
/// Completes what tasks, sorted by their ids, wait for, with the title of who holds it; and, if it ends with a colon,
/// with its cases.
void name_holders(std::vector<inspect::task_info>& all);
/// And `spawned in function (file:line)`, after what is to separate it; nothing if it is not known.
std::string spawned_in(const inspect::task_info& task, const char* separator);

}  // namespace leat::detail
