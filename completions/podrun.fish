# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_podrun_global_optspecs
    string join \n root= n/namespace= h/help V/version
end

function __fish_podrun_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_podrun_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_podrun_using_subcommand
    set -l cmd (__fish_podrun_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c podrun -n "__fish_podrun_needs_command" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_needs_command" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_needs_command" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_needs_command" -s V -l version -d 'Print version'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "up" -d 'Start what is new, replace what has changed, leave what is unchanged'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "run" -d 'Run pods in the foreground, remove them at the end, exit with their code'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "down" -d 'Remove what these files describe'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "rm" -d 'Remove pods and objects by name'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "ps" -d 'List pods (same as `get pods`)'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "get" -d 'Show pods, configmaps or secrets'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "describe" -d 'Show all that is known of a pod, its events last'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "events" -d 'List what happened to pods'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "top" -d 'Show what pods use of processors and memory'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "logs" -d 'Print the output of a container'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "exec" -d 'Run a command in a running container'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "cp" -d 'Copy files and directories to and from a running container'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "attach" -d 'Follow a running container\'s output and type into its input'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "port-forward" -d 'Forward ports of this machine to a running pod until interrupted'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "debug" -d 'Add a container to a running pod to look around'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "restart" -d 'Stop all containers of a pod and start them again'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "condition" -d 'Set a condition that a readiness gate waits for'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "wait" -d 'Wait until a condition of a pod is true'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "validate" -d 'Check files as `up` does, and do nothing else'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "image" -d 'Pull, list, remove and load images'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "volume" -d 'Claims and their data'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "doctor" -d 'Check what podrun needs of this machine'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "prune" -d 'Remove ended pods and unused image data'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "completion" -d 'Print the completions for a shell'
complete -c podrun -n "__fish_podrun_needs_command" -f -a "version" -d 'Print the version'
complete -c podrun -n "__fish_podrun_using_subcommand up" -s f -l filename -d 'A file, as kubectl takes it; may be repeated' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand up" -l validate -d 'What to do about fields that are not known' -r -f -a "strict\t'Unknown fields are errors'
warn\t'Unknown fields are warnings'
ignore\t'Unknown fields are dropped'"
complete -c podrun -n "__fish_podrun_using_subcommand up" -l pull -d 'When to pull images, instead of what the manifest says' -r -f -a "always\t'Pull even if the image is here'
missing\t'Pull what is not here'
never\t'Use only what is here'"
complete -c podrun -n "__fish_podrun_using_subcommand up" -s p -l publish -d 'Forward a port of the host to a container\'s port' -r
complete -c podrun -n "__fish_podrun_using_subcommand up" -l wait -d 'What to wait for' -r -f -a "ready\t'Until every pod is Ready, or has succeeded'
running\t'Until every container was started'
done\t'Until every pod has succeeded'
none\t'Not at all'"
complete -c podrun -n "__fish_podrun_using_subcommand up" -l timeout -d 'How long to wait' -r
complete -c podrun -n "__fish_podrun_using_subcommand up" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand up" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand up" -l strict-limits -d 'Refuse limits that cannot be in force here instead of warning'
complete -c podrun -n "__fish_podrun_using_subcommand up" -l attach -d 'Print the containers\' output while waiting'
complete -c podrun -n "__fish_podrun_using_subcommand up" -l rm -d 'Remove a pod when all its containers have ended'
complete -c podrun -n "__fish_podrun_using_subcommand up" -l dry-run -d 'Say what would be done and do nothing'
complete -c podrun -n "__fish_podrun_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c podrun -n "__fish_podrun_using_subcommand run" -s f -l filename -d 'A file, as kubectl takes it; may be repeated' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand run" -l validate -d 'What to do about fields that are not known' -r -f -a "strict\t'Unknown fields are errors'
warn\t'Unknown fields are warnings'
ignore\t'Unknown fields are dropped'"
complete -c podrun -n "__fish_podrun_using_subcommand run" -l pull -d 'When to pull images, instead of what the manifest says' -r -f -a "always\t'Pull even if the image is here'
missing\t'Pull what is not here'
never\t'Use only what is here'"
complete -c podrun -n "__fish_podrun_using_subcommand run" -s p -l publish -d 'Forward a port of the host to a container\'s port' -r
complete -c podrun -n "__fish_podrun_using_subcommand run" -l timeout -d 'Give up after this time' -r
complete -c podrun -n "__fish_podrun_using_subcommand run" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand run" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand run" -l strict-limits -d 'Refuse limits that cannot be in force here instead of warning'
complete -c podrun -n "__fish_podrun_using_subcommand run" -l no-prefix -d 'Print output as it is, without `pod/container │`'
complete -c podrun -n "__fish_podrun_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c podrun -n "__fish_podrun_using_subcommand down" -s f -l filename -d 'A file, as kubectl takes it; may be repeated' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand down" -l grace-period -d 'Seconds between the stop signal and the kill, instead of what the pod says' -r
complete -c podrun -n "__fish_podrun_using_subcommand down" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand down" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand down" -l force -d 'Kill at once'
complete -c podrun -n "__fish_podrun_using_subcommand down" -l now -d 'Like `--grace-period=1`'
complete -c podrun -n "__fish_podrun_using_subcommand down" -l ignore-not-found -d 'What is not there is no error'
complete -c podrun -n "__fish_podrun_using_subcommand down" -l volumes -d 'The claims as well, with their data: those that the pods use, and those that are named'
complete -c podrun -n "__fish_podrun_using_subcommand down" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand rm" -s l -l selector -d 'Pods with these labels' -r
complete -c podrun -n "__fish_podrun_using_subcommand rm" -l grace-period -d 'Seconds between the stop signal and the kill, instead of what the pod says' -r
complete -c podrun -n "__fish_podrun_using_subcommand rm" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand rm" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand rm" -l all -d 'All pods of the namespace'
complete -c podrun -n "__fish_podrun_using_subcommand rm" -l force -d 'Kill at once'
complete -c podrun -n "__fish_podrun_using_subcommand rm" -l now -d 'Like `--grace-period=1`'
complete -c podrun -n "__fish_podrun_using_subcommand rm" -l ignore-not-found -d 'What is not there is no error'
complete -c podrun -n "__fish_podrun_using_subcommand rm" -l volumes -d 'The claims as well, with their data: those that the pods use, and those that are named'
complete -c podrun -n "__fish_podrun_using_subcommand rm" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand ps" -s o -l output -d 'wide, json, yaml, name or jsonpath=TEMPLATE' -r
complete -c podrun -n "__fish_podrun_using_subcommand ps" -s l -l selector -d 'Only those with these labels' -r
complete -c podrun -n "__fish_podrun_using_subcommand ps" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand ps" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand ps" -s q -l quiet -d 'Print names only'
complete -c podrun -n "__fish_podrun_using_subcommand ps" -s A -l all-namespaces -d 'Of all namespaces'
complete -c podrun -n "__fish_podrun_using_subcommand ps" -l no-headers -d 'Leave the first line out'
complete -c podrun -n "__fish_podrun_using_subcommand ps" -s w -l watch -d 'Go on and print what changes'
complete -c podrun -n "__fish_podrun_using_subcommand ps" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand get" -s o -l output -d 'wide, json, yaml, name or jsonpath=TEMPLATE' -r
complete -c podrun -n "__fish_podrun_using_subcommand get" -s l -l selector -d 'Only those with these labels' -r
complete -c podrun -n "__fish_podrun_using_subcommand get" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand get" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand get" -l ignore-not-found -d 'What is not there is no error'
complete -c podrun -n "__fish_podrun_using_subcommand get" -s A -l all-namespaces -d 'Of all namespaces'
complete -c podrun -n "__fish_podrun_using_subcommand get" -l no-headers -d 'Leave the first line out'
complete -c podrun -n "__fish_podrun_using_subcommand get" -s w -l watch -d 'Go on and print what changes'
complete -c podrun -n "__fish_podrun_using_subcommand get" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand describe" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand describe" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand describe" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand events" -s o -l output -d 'json, yaml or jsonpath=TEMPLATE' -r
complete -c podrun -n "__fish_podrun_using_subcommand events" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand events" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand events" -s A -l all-namespaces -d 'Of all namespaces'
complete -c podrun -n "__fish_podrun_using_subcommand events" -s w -l watch -d 'Go on and print what comes'
complete -c podrun -n "__fish_podrun_using_subcommand events" -l no-headers -d 'Leave the first line out'
complete -c podrun -n "__fish_podrun_using_subcommand events" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand top" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand top" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand top" -l containers -d 'A line for each container'
complete -c podrun -n "__fish_podrun_using_subcommand top" -l no-headers -d 'Leave the first line out'
complete -c podrun -n "__fish_podrun_using_subcommand top" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand logs" -s l -l selector -d 'Pods with these labels' -r
complete -c podrun -n "__fish_podrun_using_subcommand logs" -s c -l container -d 'The container; the first one by default' -r
complete -c podrun -n "__fish_podrun_using_subcommand logs" -l tail -d 'The last lines only' -r
complete -c podrun -n "__fish_podrun_using_subcommand logs" -l since -d 'Lines not older than this, as `10s`, `5m`, `1h`' -r
complete -c podrun -n "__fish_podrun_using_subcommand logs" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand logs" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand logs" -s f -l follow -d 'Go on as more is written, across restarts, until the pod ends'
complete -c podrun -n "__fish_podrun_using_subcommand logs" -s p -l previous -d 'Of the run before the last restart'
complete -c podrun -n "__fish_podrun_using_subcommand logs" -l timestamps -d 'Begin each line with its time'
complete -c podrun -n "__fish_podrun_using_subcommand logs" -l prefix -d 'Begin each line with its pod and container'
complete -c podrun -n "__fish_podrun_using_subcommand logs" -l all-containers -d 'Of all containers of the pod'
complete -c podrun -n "__fish_podrun_using_subcommand logs" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand exec" -s c -l container -d 'The container; the first one by default' -r
complete -c podrun -n "__fish_podrun_using_subcommand exec" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand exec" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand exec" -s i -l stdin -d 'Pass standard input on'
complete -c podrun -n "__fish_podrun_using_subcommand exec" -s t -l tty -d 'Give the command a terminal'
complete -c podrun -n "__fish_podrun_using_subcommand exec" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand cp" -s c -l container -d 'The container; the first one by default' -r
complete -c podrun -n "__fish_podrun_using_subcommand cp" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand cp" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand cp" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand attach" -s c -l container -d 'The container; the first one by default' -r
complete -c podrun -n "__fish_podrun_using_subcommand attach" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand attach" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand attach" -s i -l stdin -d 'Pass standard input on'
complete -c podrun -n "__fish_podrun_using_subcommand attach" -s t -l tty -d 'Use the container\'s terminal'
complete -c podrun -n "__fish_podrun_using_subcommand attach" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand port-forward" -l address -d 'Addresses of this machine to listen on; `localhost` is its loopback, of IPv4 and IPv6' -r
complete -c podrun -n "__fish_podrun_using_subcommand port-forward" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand port-forward" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand port-forward" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand debug" -l image -d 'The image of the new container; the machine\'s own root file system by default' -r
complete -c podrun -n "__fish_podrun_using_subcommand debug" -l target -d 'See and signal the processes of this container' -r
complete -c podrun -n "__fish_podrun_using_subcommand debug" -s c -l container -d 'The name of the new container; made up by default' -r
complete -c podrun -n "__fish_podrun_using_subcommand debug" -l env -d 'A variable of the environment' -r
complete -c podrun -n "__fish_podrun_using_subcommand debug" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand debug" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand debug" -s i -l stdin -d 'Pass standard input on'
complete -c podrun -n "__fish_podrun_using_subcommand debug" -s t -l tty -d 'Give the container a terminal'
complete -c podrun -n "__fish_podrun_using_subcommand debug" -l attach -d 'Print the new container\'s output until it ends; `-i` implies it'
complete -c podrun -n "__fish_podrun_using_subcommand debug" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand restart" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand restart" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand restart" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand condition; and not __fish_seen_subcommand_from set" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand condition; and not __fish_seen_subcommand_from set" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand condition; and not __fish_seen_subcommand_from set" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand condition; and not __fish_seen_subcommand_from set" -f -a "set" -d 'Set conditions of a running pod'
complete -c podrun -n "__fish_podrun_using_subcommand condition; and __fish_seen_subcommand_from set" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand condition; and __fish_seen_subcommand_from set" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand condition; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand wait" -l for -d 'condition=Ready, done, delete, or jsonpath=EXPRESSION=VALUE' -r
complete -c podrun -n "__fish_podrun_using_subcommand wait" -l timeout -d 'How long' -r
complete -c podrun -n "__fish_podrun_using_subcommand wait" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand wait" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand wait" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand validate" -s f -l filename -d 'A file, as kubectl takes it; may be repeated' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand validate" -l validate -d 'What to do about fields that are not known' -r -f -a "strict\t'Unknown fields are errors'
warn\t'Unknown fields are warnings'
ignore\t'Unknown fields are dropped'"
complete -c podrun -n "__fish_podrun_using_subcommand validate" -s o -l output -d 'text or json' -r -f -a "text\t'For people'
json\t'For programs'"
complete -c podrun -n "__fish_podrun_using_subcommand validate" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand validate" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand validate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -f -a "pull" -d 'Pull images from their registries'
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -f -a "ls" -d 'List images'
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -f -a "rm" -d 'Remove images'
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -f -a "load" -d 'Load an OCI layout or archive, or an archive of `docker save`'
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -f -a "import" -d 'Make an image of the tar archive of a root file system'
complete -c podrun -n "__fish_podrun_using_subcommand image; and not __fish_seen_subcommand_from pull ls rm load import inspect" -f -a "inspect" -d 'Show an image\'s manifest and configuration'
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from pull" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from pull" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from pull" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from ls" -s o -l output -d 'Instead of a table' -r -f -a "json\t'All that is known of them'
name\t'Their names, a line each'"
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from ls" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from ls" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from rm" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from rm" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from load" -s t -l tag -d 'The name it gets; without it, the names inside are listed and nothing is loaded' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from load" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from load" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from load" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -l entrypoint -d 'The entrypoint; repeat it for each word' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -l cmd -d 'The command; repeat it for each word' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -l env -d 'A variable of the environment' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -l user -d 'The user' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -l workdir -d 'The working directory' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -l stop-signal -d 'The stop signal' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from inspect" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from inspect" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand image; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and not __fish_seen_subcommand_from ls rm" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand volume; and not __fish_seen_subcommand_from ls rm" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand volume; and not __fish_seen_subcommand_from ls rm" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and not __fish_seen_subcommand_from ls rm" -f -a "ls" -d 'List claims'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and not __fish_seen_subcommand_from ls rm" -f -a "rm" -d 'Remove claims with their data'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -s o -l output -d 'wide, json, yaml, name or jsonpath=TEMPLATE' -r
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -s l -l selector -d 'Only those with these labels' -r
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -s A -l all-namespaces -d 'Of all namespaces'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -l no-headers -d 'Leave the first line out'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -s w -l watch -d 'Go on and print what changes'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from rm" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from rm" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from rm" -l ignore-not-found -d 'What is not there is no error'
complete -c podrun -n "__fish_podrun_using_subcommand volume; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand doctor" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand doctor" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand prune" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand prune" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand prune" -l images -d 'Remove images that no pod uses as well'
complete -c podrun -n "__fish_podrun_using_subcommand prune" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_podrun_using_subcommand completion" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand completion" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c podrun -n "__fish_podrun_using_subcommand version" -l root -d 'Keep everything below this directory instead of the user\'s own' -r -F
complete -c podrun -n "__fish_podrun_using_subcommand version" -s n -l namespace -d 'The namespace of pods and objects that name none' -r
complete -c podrun -n "__fish_podrun_using_subcommand version" -s h -l help -d 'Print help'
complete -c podrun -n "__fish_seen_subcommand_from rm logs exec wait top port-forward" -f -a "(podrun ps -o name 2>/dev/null | string replace 'pod/' '')"
